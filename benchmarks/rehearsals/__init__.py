"""What happens with very many videos, tried with stand-ins."""

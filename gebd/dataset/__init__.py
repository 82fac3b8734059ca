"""A store joined with annotations, as samples for a DataLoader."""

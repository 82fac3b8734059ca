"""Operations on a store: status, verification, comparison and export."""

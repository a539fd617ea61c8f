"""The receiving side: sessions."""

"""When and in what order accepted mail is delivered, and what its senders are told."""

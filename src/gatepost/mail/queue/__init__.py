"""The queue: when and in what order accepted mail is delivered, and the notices for its senders."""

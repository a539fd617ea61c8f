"""Message, recipient, delivery, its result and its trace event, as the whole gateway knows them. No I/O."""

"""The program as its users run it, against the sandbox over real sockets."""

"""The closed list of messages that may cross the trust boundary."""

HANDLE = "/haihe.v1.NodeAgent/Handle"
"""gRPC method by which the courier hands a message to the node agent."""
MAX_MESSAGE = 256 * 2**20
"""Bytes of the longest message between them."""

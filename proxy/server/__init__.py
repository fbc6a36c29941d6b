"""The edge: HTTP in, exchanges out.

    request     bytes to the head of a request; pure, and stricter than the standard wherever two readers could differ
    reply       the head of a reply; pure
    connection  one client's connection: what arrives, what leaves, every deadline, one exchange after the other
    client      the engine's port to the client of one exchange
    edge        listens, finds the codec of a path, hands exchanges to the engine

A client that goes away cancels its exchange. What is not HTTP gets a refusal of ours, without an echo of its bytes anywhere (a key may be
among them), and never another request on that connection.
"""

from proxy.server.edge import Server as Server

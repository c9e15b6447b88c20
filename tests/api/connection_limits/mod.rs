//! What clients may do with connections before the server knows who they are.

mod answers;
mod attacks;
mod bodies;
mod caps;
mod headers;
mod raw;
mod sockets;

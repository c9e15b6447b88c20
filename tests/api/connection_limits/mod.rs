//! Limits on connections of clients that have not signed in, or that send or read slowly.

mod answers;
mod attacks;
mod bodies;
mod caps;
mod headers;
mod raw;
mod sockets;

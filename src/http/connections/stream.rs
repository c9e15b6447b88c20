//! The byte stream of a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::ConnectionPermit;

/// Observes what a client sends, in the protocol that the connection speaks.
pub(in crate::http) trait Observer {
    /// Called with bytes that were read from the connection.
    fn bytes_read(&mut self, bytes: &[u8]);

    /// Called when everything that has arrived was read. Ready with an error if the server must not wait for more
    /// bytes.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;
}

/// A TCP connection that counts among the node's connections until it is dropped.
pub(in crate::http) struct ClientStream<O> {
    tcp: TcpStream,
    observer: O,
    permit: ConnectionPermit,
}

impl<O> ClientStream<O> {
    pub(super) fn new(tcp: TcpStream, permit: ConnectionPermit, observer: O) -> Self {
        Self { tcp, observer, permit }
    }

    /// Replaces the observer when the connection changes to another protocol.
    pub(in crate::http) fn with_observer<P>(self, observer: P) -> ClientStream<P> {
        ClientStream { tcp: self.tcp, observer, permit: self.permit }
    }
}

impl<O: Observer + Unpin> AsyncRead for ClientStream<O> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.tcp).poll_read(cx, buf) {
            Poll::Pending => self.observer.poll_stalled(cx).map(Err),
            Poll::Ready(read) => {
                read?;
                self.observer.bytes_read(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<O: Unpin> AsyncWrite for ClientStream<O> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

//! How long a socket is waited for.
//!
//! The HTTP library times the head of a request, but not what comes before it knows which HTTP that will be, and not clients that
//! do not read their answers.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How HTTP/2 begins. Until a byte differs nobody knows whether it does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket that fails when its other end keeps it waiting.
pub struct Patient<S> {
    socket: S,
    opening: Option<Opening>,
    /// Set while bytes wait for the other end to take earlier ones.
    stalled: Option<Pin<Box<Sleep>>>,
    stall: Duration,
}

/// What was read of the preface, and until when the rest must be there.
struct Opening {
    seen: usize,
    until: Pin<Box<Sleep>>,
}

impl Opening {
    /// Whether the first bytes have said what they begin.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.seen..];
        self.seen += bytes.len().min(rest.len());
        self.seen == PREFACE.len() || !rest.starts_with(bytes)
    }
}

impl<S> Patient<S> {
    /// Waits `opening` for the beginning, and `stall` for the other end to take what was written.
    pub fn new(socket: S, opening: Duration, stall: Duration) -> Self {
        let opening = Opening { seen: 0, until: Box::pin(sleep(opening)) };
        Self { socket, opening: Some(opening), stalled: None, stall }
    }

    /// Turns a write that waits for too long into an error.
    fn timed<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.stall)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if let Some(opening) = &mut self.opening {
            if polled.is_pending() && opening.until.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client says nothing")));
            }
            let read = &buffer.filled()[before..];
            if !read.is_empty() && opening.is_over(read) {
                self.opening = None;
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.timed(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        self.timed(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(context);
        self.timed(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.timed(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn whoever_does_not_say_which_http_it_is_is_not_waited_for() {
        for (said, more) in
            [(&b""[..], &b"GET / HTTP/1.1"[..]), (b"P", b"OST / HTTP/1.1"), (b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n")]
        {
            let (mut client, server) = duplex(64);
            let mut server = Patient::new(server, LIMIT, LIMIT);
            client.write_all(said).await.unwrap();
            let mut read = vec![0; said.len()];
            server.read_exact(&mut read).await.unwrap();
            assert_eq!(server.read_u8().await.unwrap_err().kind(), ErrorKind::TimedOut, "{said:?}");

            // With the rest it is known, and may take as long as it likes.
            let (mut client, server) = duplex(64);
            let mut server = Patient::new(server, LIMIT, LIMIT);
            for part in [said, more] {
                client.write_all(part).await.unwrap();
                let mut read = vec![0; part.len()];
                server.read_exact(&mut read).await.unwrap();
            }
            tokio::time::sleep(2 * LIMIT).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'x');
        }
    }

    #[tokio::test]
    async fn whoever_does_not_read_is_not_waited_for() {
        let (mut client, server) = duplex(4);
        let mut server = Patient::new(server, LIMIT, LIMIT);
        let mut slow = async |pause: Duration| {
            let read = async {
                let mut bytes = Vec::new();
                while let Ok(Ok(byte)) = tokio::time::timeout(3 * LIMIT, client.read_u8()).await {
                    bytes.push(byte);
                    tokio::time::sleep(pause).await;
                }
                bytes.len()
            };
            tokio::join!(server.write_all(&[7; 16]), read)
        };
        let (written, read) = slow(LIMIT / 10).await;
        assert_eq!((written.is_ok(), read), (true, 16));
        let (written, _) = slow(2 * LIMIT).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

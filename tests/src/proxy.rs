//! A connection that can be cut: TCP between two processes, by way of this one.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It arrives.
    #[default]
    Pass,
    /// Questions arrive, answers are lost.
    Deaf,
    /// It arrives later, when the mode has changed.
    Stall,
    /// It arrives; where a connection ends, its client sees it break, as if something was left unread.
    Reset,
    /// There are no connections.
    Refuse,
}

/// Listens, and passes on what comes. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    _serving: JoinSet<()>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Proxy {
    /// One that leads nowhere until it is told where.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let target = Arc::<Mutex<Option<SocketAddr>>>::default();
        let (mode, seen_mode) = watch::channel(Mode::Pass);
        let (cuts, seen_cuts) = watch::channel(0);
        let mut serving = JoinSet::new();
        let known = Arc::clone(&target);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let target = *known.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some(target), true) = (target, *seen_mode.borrow() != Mode::Refuse) {
                    connections.spawn(connect(from, target, seen_mode.clone(), seen_cuts.clone()));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, target, mode, cuts, _serving: serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections lead that come from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    /// What becomes of what is sent now.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// What becomes of what is sent from now on.
    pub fn set(&self, mode: Mode) {
        if mode == Mode::Refuse {
            self.cut();
        }
        self.mode.send_replace(mode);
    }

    /// Ends the connections that there are.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn connect(from: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let Ok(to) = TcpStream::connect(target).await else { return };
    // Delays are of the mode's making, not of ours.
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let (from_client, mut to_client) = from.into_split();
    let (from_server, to_server) = to.into_split();
    tokio::select! {
        () = pass(from_client, to_server, Way::There, mode.clone()) => {}
        () = pass(from_server, &mut to_client, Way::Back, mode.clone()) => {}
        _ = cuts.changed() => {}
    }
    if *mode.borrow() == Mode::Reset {
        let _ = to_client.as_ref().set_zero_linger();
        // Dropped, it would say first that there is no more.
        to_client.forget();
    }
}

/// Until one of both ends.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let is_lost = way == Way::Back && *mode.borrow() == Mode::Deaf;
        if !is_lost && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        (address, serving)
    }

    #[tokio::test]
    async fn what_is_sent_arrives_late_or_not_at_all() {
        let (address, _serving) = echo().await;
        let proxy = Proxy::start().await;
        proxy.lead_to(address);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let mut answer = [0; 1];
        stream.write_all(b"a").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"a");

        proxy.set(Mode::Stall);
        stream.write_all(b"b").await.unwrap();
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), stream.read_exact(&mut answer)).await;
        assert!(early.is_err(), "it waits");
        proxy.set(Mode::Pass);
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"b");

        proxy.set(Mode::Deaf);
        stream.write_all(b"c").await.unwrap();
        proxy.cut();
        assert_eq!(stream.read(&mut answer).await.unwrap_or(0), 0, "the answer is lost");
        proxy.set(Mode::Refuse);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(refused.read(&mut answer).await.unwrap_or(0), 0);
    }
}

//! A way between a client and a server on loopback that can be slow, and can be cut. It ends with the value.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test may fail where it stands, and uses what it needs"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// What is given on, and when at the earliest.
type Chunk = (Instant, Vec<u8>);

/// A listener whose connections are given on to another port.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Gives connections on to `to`, each octet `delay` later: a round trip takes twice that.
    pub fn new(to: (Ipv4Addr, u16), delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let ended = Arc::new(AtomicBool::new(false));
        let (all, end) = (Arc::clone(&open), Arc::clone(&ended));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                // Nobody behind it: the connection ends, as if refused.
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                for stream in [&client, &server] {
                    let _ = stream.set_nodelay(true);
                    all.lock().unwrap().push(stream.try_clone().unwrap());
                }
                pump(
                    client.try_clone().unwrap(),
                    server.try_clone().unwrap(),
                    delay,
                );
                pump(server, client, delay);
            }
        });
        Self { port, open, ended }
    }

    /// Cuts all connections; how many ends there were. New ones go through.
    pub fn cut(&self) -> usize {
        let open: Vec<TcpStream> = self.open.lock().unwrap().drain(..).collect();
        let alive = |stream: &&TcpStream| stream.shutdown(Shutdown::Both).is_ok();
        open.iter().filter(alive).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        self.cut();
    }
}

/// One direction.
fn pump(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<Chunk>();
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 32 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if sender
                .send((Instant::now() + delay, buffer[..length].to_vec()))
                .is_err()
            {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, octets) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&octets).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

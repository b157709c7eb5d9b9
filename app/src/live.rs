//! A finished trace served to `puffin_viewer`: its runs are played in a loop, so that a viewer may connect at any time.
//!
//! puffin_http looks for new connections whenever a frame is sent; without the loop nobody could join.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use profiler::export::puffin::Live;
use profiler::{RunId, Span, Trace};

/// This machine only.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8585";

/// One run is sent this often.
const FRAME_INTERVAL: Duration = Duration::from_millis(250);

/// A running server. Dropping it closes the port.
pub struct LiveServer {
    address: SocketAddr,
    trace: Arc<Mutex<Option<Arc<Trace>>>>,
    stop: Arc<AtomicBool>,
    player: Option<JoinHandle<()>>,
}

impl LiveServer {
    /// Listens on this address, the machine's own only unless it says otherwise.
    pub fn start(address: &str) -> anyhow::Result<Self> {
        let help = || format!("{address} is no address to serve on; use for instance {DEFAULT_ADDRESS}");
        let address = address.to_socket_addrs().with_context(help)?.next().with_context(help)?;
        let server = puffin_http::Server::new_custom(&address.to_string(), Live::add_sink, Live::remove_sink)
            .with_context(|| format!("can't serve on {address}"))?;
        let trace: Arc<Mutex<Option<Arc<Trace>>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (shown, stopped) = (trace.clone(), stop.clone());
        let player = std::thread::Builder::new()
            .name("puffin player".to_owned())
            .spawn(move || play(server, &shown, &stopped))
            .context("can't start a thread")?;
        Ok(LiveServer { address, trace, stop, player: Some(player) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plays this trace from now on.
    pub fn show(&self, trace: Arc<Trace>) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
    }
}

impl Drop for LiveServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(player) = self.player.take() {
            player.thread().unpark();
            // A panic in the player was logged by the panic hook.
            let _ = player.join();
        }
    }
}

fn play(_server: puffin_http::Server, shown: &Mutex<Option<Arc<Trace>>>, stop: &AtomicBool) {
    let mut live = Live::new();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let wanted = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(trace) = wanted {
            match trace.runs.len() {
                0 => live.replay(&trace),
                runs => live.replay(&only(&trace, turn % runs)),
            }
        }
        std::thread::park_timeout(FRAME_INTERVAL);
    }
}

/// The trace with one of its runs alone.
fn only(trace: &Trace, run: usize) -> Trace {
    let mut one = Trace {
        layers: trace.layers.clone(),
        tracks: trace.tracks.clone(),
        runs: vec![trace.runs[run]],
        ..Trace::default()
    };
    one.spans.names = trace.spans.names.clone();
    for span in trace.spans.iter().filter(|s| s.run == Some(RunId(run as u32))) {
        one.spans.push(Span { run: Some(RunId(0)), parent: None, ..span });
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_viewer_that_connects_late_gets_the_layers() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = LiveServer::start(&format!("127.0.0.1:{port}")).unwrap();
        let trace = Arc::new(profiler::fixtures::one_layer());
        server.show(trace.clone());
        let client = puffin_http::Client::new(server.address().to_string());
        let start = Instant::now();
        loop {
            let view = client.frame_view();
            let names: Vec<String> = view.scope_collection().scopes_by_name().keys().map(|k| k.to_string()).collect();
            if view.recent_frames().count() >= 2 && names.iter().any(|n| *n == trace.layers[0].op) {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "scopes so far: {names:?}");
            drop(view);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn nonsense_is_no_address() {
        assert!(LiveServer::start("nowhere").is_err());
    }
}

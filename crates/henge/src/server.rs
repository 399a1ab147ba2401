//! `henge server`: the process that serves Druid's HTTP API, and the same inside other commands.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use henge_engine::Engine;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::data_dir::{Claim, DataDirLock, claim};
use crate::failure::Failure;
use crate::settings::DataArgs;

/// Stack of the runtime's threads: plans are deep trees that are walked recursively.
const THREAD_STACK_BYTES: usize = 8 << 20;

#[derive(Args)]
#[command(after_help = "\
Examples:
  henge server                                   http://127.0.0.1:8888, data in ./henge-data
  henge server --dir /srv/henge --memory 8GB
  henge server --host 0.0.0.0 --port 9999        reachable from other machines: mind that anybody may then query

Ask it something:
  curl -H 'Content-Type: application/json' http://127.0.0.1:8888/druid/v2/sql -d '{\"query\":\"SELECT 1\"}'")]
pub struct ServerArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Address to listen on; anything but a loopback address lets other machines in [default: 127.0.0.1]
    #[arg(long, env = "HENGE_HOST", value_name = "ADDRESS")]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes a free one [default: 8888]
    #[arg(long, env = "HENGE_PORT", value_name = "PORT")]
    pub port: Option<u16>,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: ServerArgs) -> Result<(), Failure> {
    let file = args.data.file()?;
    let host = match (args.host, &file.host) {
        (Some(host), _) => host,
        (None, Some(text)) => text
            .parse()
            .map_err(|_| Failure::new(format!("setting host in henge.toml: [{text}] is no IP address")))?,
        (None, None) => IpAddr::from([127, 0, 0, 1]),
    };
    let port = args.port.or(file.port).unwrap_or(8888);
    runtime()?.block_on(async {
        let running = Running::start(&args.data, SocketAddr::new(host, port)).await?;
        println!(
            "henge {} serves {} (data in {})",
            env!("CARGO_PKG_VERSION"),
            running.url,
            args.data.dir.display()
        );
        if !host.is_loopback() {
            eprintln!("warning: [{host}] is reachable from other machines and henge asks for no password");
        }
        stop_signal().await;
        running.stop().await;
        Ok(())
    })
}

/// Makes the runtime of a command. The engine has its own threads for computing.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()?)
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            tokio::signal::ctrl_c().await.ok();
        }
    }
}

/// A server in this process.
pub struct Running {
    /// Where it answers.
    pub url: String,
    engine: Arc<Engine>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    _lock: DataDirLock,
}

impl Running {
    /// Takes the data folder, opens the engine and listens.
    pub async fn start(data: &DataArgs, address: SocketAddr) -> Result<Self, Failure> {
        let lock = match claim(&data.dir)? {
            Claim::Ours(lock) => lock,
            Claim::Theirs(url) => {
                let at = url.map_or(String::new(), |url| format!(" (it answers at {url})"));
                return Err(Failure::new(format!(
                    "another henge works on data folder [{}]{at}",
                    data.dir.display()
                ))
                .remedy("stop it, or give another folder with --dir"));
            }
        };
        Self::start_on(data, address, lock).await
    }

    /// As `start`, with the folder taken already.
    pub async fn start_on(data: &DataArgs, address: SocketAddr, mut lock: DataDirLock) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::new(format!("cannot listen on [{address}]: {error}"))
                .remedy("give another port with --port (0 takes a free one)")
        })?;
        let address = listener.local_addr()?;
        let config = data.engine_config(&data.file()?, address.to_string())?;
        let engine = Engine::open(config)
            .await
            .map_err(|error| Failure::new(error.to_string()))?;
        henge_server::install_system_tables(&engine);
        let url = format!("http://{address}");
        lock.announce(&url)?;
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(henge_server::serve(listener, Arc::clone(&engine), async {
            stopped.await.ok();
        }));
        Ok(Self {
            url,
            engine,
            stop,
            served,
            _lock: lock,
        })
    }

    /// Stops listening, cancels what runs, and closes the engine.
    pub async fn stop(self) {
        self.engine.shutdown().await;
        self.stop.send(()).ok();
        self.served.await.ok();
    }
}

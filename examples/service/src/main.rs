//! The program `ticket-office`: reads its command line, opens the store, and serves until it
//! receives a signal to stop.
//!
//! It prints one line to standard output, the address it listens on, so that the process that
//! starts it with port 0 learns the port. Everything else goes to standard error.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use retold::system::Infrastructure;
use retold_service_example::limits::THREADS_MIN;
use retold_service_example::options::ServiceOptions;
use retold_service_example::service::Service;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let options = ServiceOptions::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the failure cannot be reported.
            let _ = writeln!(io::stderr(), "ticket-office: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &ServiceOptions) -> Result<(), Box<dyn Error>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.max(THREADS_MIN))
        .enable_all()
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: &ServiceOptions) -> Result<(), Box<dyn Error>> {
    let store = retold::open_store(&options.store).await?;
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.map_err(|error| {
        format!(
            "cannot listen on {}: {error}; choose another address with --listen",
            options.listen
        )
    })?;
    let address = listener.local_addr()?;
    let infrastructure = Infrastructure::new(store);
    let stop = stop_signal()?;
    let service = Service::start(&infrastructure, options.choice(), options.limits()).await?;
    writeln!(io::stdout(), "listening on http://{address}")?;
    let report = service.serve(listener, stop).await?;
    if !report.is_clean() {
        // Nothing is lost: these events are processed again at the next start.
        tracing::warn!(?report, "some followers could not record their progress");
    }
    Ok(())
}

/// Completes on a signal to stop. Installs the signal handlers immediately.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Completes on a signal to stop.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C; kill the process to stop it");
            std::future::pending::<()>().await;
        }
    })
}

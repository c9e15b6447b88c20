//! The settings of the log, of metrics and of the shutdown.

use std::time::Duration;

use super::seconds;

/// Settings of the log and the metrics of the process, and of its shutdown.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log, metrics and shutdown")]
pub struct Process {
    /// Filter of the log, in the syntax of tracing's EnvFilter
    #[arg(long, env, default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    pub log_level: String,
    /// Format of the log: text for people, json for machines
    #[arg(long, env, default_value = "text", value_name = "text|json")]
    pub log_format: LogFormat,
    /// Answer GET /metrics, for Prometheus. A public proxy should not forward this path
    #[arg(long, env, default_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub metrics: bool,
    /// Seconds at shutdown between the report that the node is not ready and the closing of its port, so that load balancers notice the shutdown
    #[arg(long, env, default_value = "1", value_name = "SECONDS", value_parser = seconds(0..=300))]
    pub drain_delay: Duration,
    /// Maximum seconds that requests in flight may take at shutdown. The process then exits without finishing them
    #[arg(long, env, default_value = "20", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub drain_timeout: Duration,
    /// Seconds after which the process ends if its async runtime does not answer, so that a supervisor starts it again; 0 turns this watchdog off
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(0..=3600))]
    pub watchdog_timeout: Duration,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("allowed is a filter such as info, or warn,parlance=debug".to_owned()),
    }
}

//! The way to Redis: a connection that is opened when it is needed, and given up at the first doubt.
//!
//! Nobody waits long for it: a second to connect, a second for an answer. An answer that did not come means that nobody
//! knows whether the command was done; what that is worth, whoever asked decides.

#[cfg(test)]
pub mod own_redis;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, PushInfo,
    RedisConnectionInfo, RedisError, TlsCertificates, Value, cmd,
};
use tokio::sync::{Mutex, mpsc};

use crate::config::redis::{Node, Redis, Server as Where};
use crate::outcome::{Stop, exit};
use crate::text;
pub use server::{Server, Unfit};

const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(1);
/// Name look-up, TCP, TLS and sign-in, of a sentinel and of the server.
const ALTOGETHER: Duration = Duration::from_secs(4);

/// Why Redis did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// Whether it was done is not known.
    #[error("{0}")]
    NoAnswer(String),
    /// It said so itself; nothing was done.
    #[error("Redis refuses: {0}")]
    Refused(String),
    /// It does not know this user, or the user may not do it.
    #[error("{0}")]
    Denied(String),
    /// It is not one that leases can be kept in.
    #[error("{0}")]
    Unfit(String),
}

impl Trouble {
    /// For a command that cannot go on without.
    pub fn stop(&self, config: &Redis) -> Stop {
        let place = |stop: Stop| stop.found(self.to_string()).at("[redis]");
        match self {
            Self::NoAnswer(_) | Self::Refused(_) => {
                place(Stop::new(exit::UNREACHABLE, format!("{config} cannot be used at the moment")))
                    .expected("a Redis that answers")
                    .next("`wp-cron-runner check --connect`")
            }
            Self::Unfit(_) => place(Stop::new(exit::CONFIGURATION, format!("{config} cannot keep leases")))
                .expected("a server that can")
                .next("`wp-cron-runner check --connect`"),
            Self::Denied(_) => place(Stop::new(exit::CONFIGURATION, format!("{config} cannot be used")))
                .expected("a user that may do what config/redis.acl lists, and its password")
                .next("see `user` and `password_file` in [redis], then `wp-cron-runner check --connect`"),
        }
    }
}

/// One way to one server, for one user of it.
#[derive(Debug)]
pub struct Link {
    pub config: Arc<Redis>,
    open: Mutex<Option<Wire>>,
}

/// An open connection: always the same process of Redis, for as long as it lasts.
#[derive(Debug, Clone)]
pub struct Wire {
    connection: MultiplexedConnection,
}

impl Link {
    pub fn new(config: &Arc<Redis>) -> Self {
        Self { config: config.clone(), open: Mutex::new(None) }
    }

    /// The connection that is there, or a new one.
    pub async fn wire(&self) -> Result<Wire, Trouble> {
        let mut open = self.open.lock().await;
        if let Some(wire) = open.as_ref() {
            return Ok(wire.clone());
        }
        let wire = Wire { connection: connect(&self.config, None).await? };
        *open = Some(wire.clone());
        Ok(wire)
    }

    /// The next one gets a connection of its own.
    pub async fn close(&self) {
        *self.open.lock().await = None;
    }

    /// All commands of `pipeline`, each with its own result.
    pub async fn each(&self, pipeline: &Pipeline) -> Result<Vec<Result<Value, Trouble>>, Trouble> {
        let result = self.wire().await?.each(pipeline).await;
        if result.is_err() {
            self.close().await;
        }
        result
    }

    /// All commands of `pipeline`, or why one of them was not done.
    pub async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Trouble> {
        let values: Vec<Value> = self.each(pipeline).await?.into_iter().collect::<Result<_, _>>()?;
        redis::from_redis_value(Value::Array(values)).map_err(|error| Trouble::Refused(error.to_string()))
    }

    /// What kind of server it is.
    pub async fn server(&self) -> Result<Server, Trouble> {
        let result = self.wire().await?.server().await;
        if matches!(result, Err(Trouble::NoAnswer(_))) {
            self.close().await;
        }
        result
    }

    /// A server that leases cannot be kept in, or that does not know this user, is refused; one that does not answer may answer
    /// later.
    pub async fn refuse_unfit(&self) -> Result<(), Stop> {
        match self.server().await {
            Ok(server) => server.unfit(&self.config).map_or(Ok(()), |unfit| Err(unfit.stop(&self.config))),
            Err(trouble @ Trouble::Denied(_)) => Err(trouble.stop(&self.config)),
            Err(trouble) => {
                tracing::warn!("{trouble}; it is tried again by itself");
                Ok(())
            }
        }
    }

    /// Messages of one channel, for as long as the connection lasts; the caller hears of its end by a `Disconnection`.
    pub async fn listen(&self, channel: &str) -> Result<(Wire, mpsc::UnboundedReceiver<PushInfo>), Trouble> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut connection = connect(&self.config, Some(sender)).await?;
        connection.subscribe(channel).await.map_err(|error| self.trouble(&error))?;
        Ok((Wire { connection }, receiver))
    }

    fn trouble(&self, error: &RedisError) -> Trouble {
        trouble(&self.config.to_string(), error)
    }
}

impl Wire {
    pub async fn each(&self, pipeline: &Pipeline) -> Result<Vec<Result<Value, Trouble>>, Trouble> {
        let mut pipeline = pipeline.clone();
        let mut connection = self.connection.clone();
        let asked = pipeline.ignore_errors().query_async::<Vec<Result<Value, RedisError>>>(&mut connection).await;
        let answers = asked.map_err(|error| trouble("Redis", &error))?;
        Ok(answers.into_iter().map(|answer| answer.map_err(|error| trouble("Redis", &error))).collect())
    }

    pub async fn server(&self) -> Result<Server, Trouble> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO");
        let answer = self.each(&pipeline).await?.pop();
        let text: String = match answer {
            Some(answer) => redis::from_redis_value(answer?).map_err(|error| Trouble::Refused(error.to_string()))?,
            None => String::new(),
        };
        Server::from_info(&text).ok_or_else(|| Trouble::Refused("its INFO names no run_id".into()))
    }
}

async fn connect(
    config: &Redis,
    messages: Option<mpsc::UnboundedSender<PushInfo>>,
) -> Result<MultiplexedConnection, Trouble> {
    let limit = tokio::time::timeout(ALTOGETHER, connect_patiently(config, messages)).await;
    limit.unwrap_or_else(|_| Err(Trouble::NoAnswer(format!("{config} does not answer within {ALTOGETHER:?}"))))
}

async fn connect_patiently(
    config: &Redis,
    messages: Option<mpsc::UnboundedSender<PushInfo>>,
) -> Result<MultiplexedConnection, Trouble> {
    let address = match &config.server {
        Where::At(node) => address_of(config, node),
        Where::Unix(path) => ConnectionAddr::Unix(path.clone()),
        Where::Sentinels { nodes, master } => address_of(config, &ask_sentinels(config, nodes, master).await?),
    };
    let mut settings = RedisConnectionInfo::default().set_db(config.database).set_skip_set_lib_name();
    if let Some(user) = &config.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    if messages.is_some() {
        settings = settings.set_protocol(redis::ProtocolVersion::RESP3);
    }
    open(config, address, settings, messages).await.map_err(|error| trouble(&config.to_string(), &error))
}

fn address_of(config: &Redis, node: &Node) -> ConnectionAddr {
    let Node { host, port } = node.clone();
    match config.is_tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

async fn open(
    config: &Redis,
    address: ConnectionAddr,
    settings: RedisConnectionInfo,
    messages: Option<mpsc::UnboundedSender<PushInfo>>,
) -> Result<MultiplexedConnection, RedisError> {
    let info = address.into_connection_info()?.set_redis_settings(settings);
    let client = match &config.ca_file {
        Some(file) => {
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(file.pem.clone()) })?
        }
        None => Client::open(info)?,
    };
    let limits = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
    let limits = match messages {
        Some(messages) => limits.set_push_sender(messages),
        None => limits,
    };
    client.get_multiplexed_async_connection_with_config(&limits).await
}

/// The first sentinel that knows the master is believed; the server itself says afterwards whether it is one (Redis's own
/// guidelines for clients of sentinels).
async fn ask_sentinels(config: &Redis, nodes: &[Node], master: &str) -> Result<Node, Trouble> {
    let mut last = format!("{config} names no sentinel");
    for node in nodes {
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let name = format!("sentinel {node}");
        let asked = match open(config, address_of(config, node), settings, None).await {
            Ok(mut connection) => {
                let mut question = cmd("SENTINEL");
                question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
                question.query_async::<Option<(String, u16)>>(&mut connection).await
            }
            Err(error) => Err(error),
        };
        match asked {
            Ok(Some((host, port))) => return Ok(Node { host, port }),
            Ok(None) => last = format!("{name} knows no master `{master}`"),
            Err(error) => last = trouble(&name, &error).to_string(),
        }
    }
    Err(Trouble::NoAnswer(last))
}

/// What an error of the library means for us. `what`: who was asked.
fn trouble(what: &str, error: &RedisError) -> Trouble {
    let words = text::safe_cut(&error.to_string(), 300);
    match error.kind() {
        _ if error.is_timeout() => Trouble::NoAnswer(format!("{what} does not answer within a second")),
        _ if error.is_connection_refusal() => Trouble::NoAnswer(format!("{what} refuses the connection")),
        _ if error.is_connection_dropped() => {
            Trouble::NoAnswer(format!("{what} closed the connection, or speaks something else than Redis"))
        }
        ErrorKind::AuthenticationFailed => Trouble::Denied(format!("{what} does not take the user or the password")),
        _ if is_denied(error, &words) => Trouble::Denied(format!("Redis refuses: {words}")),
        ErrorKind::Server(_) | ErrorKind::Extension => Trouble::Refused(words),
        _ => Trouble::NoAnswer(format!("{what}: {words}")),
    }
}

/// Within a script it is an error of the script, in words that differ by version.
fn is_denied(error: &RedisError, words: &str) -> bool {
    matches!(error.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"))
        || ["ACL failure", "can't run this command"].iter().any(|part| words.contains(part))
}

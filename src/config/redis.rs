//! `[redis]`: the server through which several hosts share their sites.

use std::path::{Path, PathBuf};

use reqwest::Url;
use toml::Spanned;

use super::CaFile;
use super::file::Table;
use super::problem::excerpt;
use super::secret::{self, Password, Refusal};
use super::triggers::ca_file;

const URL: &str = "redis://HOST:6379/3, rediss://HOST:6379/3, redis+unix:///run/redis.sock?db=3 or \
    redis+sentinel://HOST:26379,HOST:26379/NAME/3";
const PASSWORD: &str = "the password of Redis, one line, mode 0600";
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[derive(Debug, Clone, PartialEq)]
pub struct Redis {
    pub server: Server,
    pub database: i64,
    pub is_tls: bool,
    pub ca_file: Option<CaFile>,
    pub user: Option<String>,
    pub password: Option<Password>,
    /// What the name of every key begins with, before a colon.
    pub prefix: String,
    /// A lease counts only where so many replicas have it.
    pub wait_replicas: usize,
    pub accept: Vec<Risk>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Server {
    At(Node),
    Unix(PathBuf),
    /// Whichever server the sentinels call the master of this name.
    Sentinels {
        nodes: Vec<Node>,
        master: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub host: String,
    pub port: u16,
}

/// What is refused unless it is accepted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Risk {
    /// Leases may be evicted to make room.
    Eviction,
    /// It cannot be written before somebody promotes it.
    Replica,
    /// WordPress's object cache is in the same database, and flushing it takes the leases away.
    ObjectCache,
}

impl Risk {
    const ALL: [Self; 3] = [Self::Eviction, Self::Replica, Self::ObjectCache];

    pub fn word(self) -> &'static str {
        match self {
            Self::Eviction => "eviction",
            Self::Replica => "replica",
            Self::ObjectCache => "object-cache",
        }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
    }
}

/// As `url` says it, without user and password.
impl std::fmt::Display for Redis {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tls, db) = (if self.is_tls { "s" } else { "" }, self.database);
        match &self.server {
            Server::At(node) => write!(out, "redis{tls}://{node}/{db}"),
            Server::Unix(path) => write!(out, "redis+unix://{}?db={db}", path.display()),
            Server::Sentinels { nodes, master } => {
                let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                write!(out, "redis{tls}+sentinel://{}/{master}/{db}", nodes.join(","))
            }
        }
    }
}

impl Redis {
    pub fn accepts(&self, risk: Risk) -> bool {
        self.accept.contains(&risk)
    }

    /// Is this the database that a site's object cache is in? `reported`: as the plugin tells it (`tcp://HOST:PORT/DB`,
    /// `tls://...`, `unix:/PATH/DB`); `tcp_port`: what this Redis listens on by its own word. Sentinels name their master
    /// only when asked, so that one is not compared.
    pub fn is_database(&self, reported: &str, tcp_port: u16) -> bool {
        let Some((place, database)) = reported.rsplit_once('/') else { return false };
        if database.parse() != Ok(self.database) {
            return false;
        }
        if let Some(path) = place.strip_prefix("unix:") {
            return matches!(&self.server, Server::Unix(own) if own == Path::new(path));
        }
        let node = place.split_once("://").and_then(|(_, node)| self::node(node, PORT));
        match (&self.server, node) {
            (Server::At(own), Some(node)) => {
                let is_same =
                    own.host.eq_ignore_ascii_case(&node.host) || (is_local(&own.host) && is_local(&node.host));
                is_same && own.port == node.port
            }
            (Server::Unix(_), Some(node)) => is_local(&node.host) && node.port == tcp_port,
            _ => false,
        }
    }

    pub fn shared_sentence(&self, reported: &str) -> String {
        format!(
            "its object cache is in the same Redis database as the leases ({}): whoever flushes it (`wp cache flush`) takes the \
             leases away; give [redis] a database of its own, or accept it by name: accept = [\"{}\"]",
            crate::text::safe_cut(reported, 200),
            Risk::ObjectCache.word()
        )
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn resolve(table: &Table<'_>, folder: &Path) -> Option<Redis> {
    let written = table.text("url", URL);
    let parsed = written.as_ref().and_then(|text| match parse(text.get_ref()) {
        Ok(parsed) => Some(parsed),
        Err(expected) => {
            table.wrong("url", text.span(), &format!("\"{}\"", excerpt(text.get_ref())), expected);
            None
        }
    });
    if written.is_none() {
        table.missing("url", URL);
    }
    let user = table.text("user", "the name of a Redis user (ACL)").map(Spanned::into_inner);
    let password = password(table, folder);
    let ca_file = ca_file(table, folder);
    let prefix = prefix(table);
    let wait_replicas = table.whole("wait_replicas", 0..17).unwrap_or(0);
    let accept = accept(table);
    table.finish();
    let (parsed, prefix) = (parsed?, prefix?);
    if ca_file.is_some() && !parsed.is_tls {
        table.refuse(table.span_of("ca_file"), "`ca_file` is there and `url` is not one of TLS", "rediss:// in `url`");
    }
    let twice = [
        ("user", user.is_some() && parsed.user.is_some()),
        ("password_file", password.is_some() && parsed.password.is_some()),
    ];
    for (key, _) in twice.iter().filter(|(_, is_twice)| *is_twice) {
        table.refuse(table.span_of(key), format!("`{key}` is there, and `url` has one as well"), "one of the two");
    }
    Some(Redis {
        server: parsed.server,
        database: parsed.database,
        is_tls: parsed.is_tls,
        ca_file,
        user: user.or(parsed.user),
        password: password.or(parsed.password.map(|password| Password::new(&password))),
        prefix,
        wait_replicas,
        accept,
    })
}

fn password(table: &Table<'_>, folder: &Path) -> Option<Password> {
    let file = table.text("password_file", PASSWORD)?;
    match secret::password(&folder.join(file.get_ref())) {
        Ok(password) => Some(password),
        Err(Refusal::Missing(path)) => {
            let found = format!("a file that does not exist ({})", path.display());
            table.wrong("password_file", file.span(), &found, PASSWORD);
            None
        }
        Err(Refusal::Wrong { path, found, expected }) => {
            table.wrong("password_file", file.span(), &format!("{path}, which {found}"), expected);
            None
        }
    }
}

fn prefix(table: &Table<'_>) -> Option<String> {
    let expected = "1 to 32 letters, digits, _ or -";
    let Some(prefix) = table.text("prefix", expected) else {
        return (!table.has("prefix")).then(|| "wpcr".to_string());
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if prefix.get_ref().len() <= 32 && prefix.get_ref().chars().all(is_plain) {
        return Some(prefix.into_inner());
    }
    table.wrong("prefix", prefix.span(), &format!("\"{}\"", excerpt(prefix.get_ref())), expected);
    None
}

fn accept(table: &Table<'_>) -> Vec<Risk> {
    let expected = "a list of \"eviction\", \"replica\" and \"object-cache\"";
    let Some(words) = table.texts("accept", expected) else { return Vec::new() };
    let span = words.span();
    let mut accepted = Vec::new();
    for word in words.into_inner() {
        match Risk::ALL.into_iter().find(|risk| risk.word() == word) {
            Some(risk) => accepted.push(risk),
            None => table.wrong("accept", span.clone(), &format!("\"{}\"", excerpt(&word)), expected),
        }
    }
    accepted
}

#[derive(Debug, PartialEq)]
struct Parsed {
    server: Server,
    database: i64,
    is_tls: bool,
    user: Option<String>,
    password: Option<String>,
}

/// Not by a URL library alone: several sentinels are no host of one.
fn parse(text: &str) -> Result<Parsed, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or(URL)?;
    if scheme == "redis+unix" {
        return parse_unix(text);
    }
    let (is_tls, is_sentinel) = match scheme {
        "redis" => (false, false),
        "rediss" => (true, false),
        "redis+sentinel" => (false, true),
        "rediss+sentinel" => (true, true),
        _ => return Err(URL),
    };
    if rest.contains(['?', '#']) || rest.contains(char::is_whitespace) {
        return Err("no query and no fragment: `user`, `ca_file` and the like are keys of their own");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (who, hosts) = authority.rsplit_once('@').map_or((None, authority), |(who, hosts)| (Some(who), hosts));
    let (user, password) = who.map_or(Ok((None, None)), who_is)?;
    let mut path = path.trim_end_matches('/').split('/').filter(|part| !part.is_empty());
    let default = if is_sentinel { SENTINEL_PORT } else { PORT };
    let mut nodes = hosts.split(',').map(|host| node(host, default)).collect::<Option<Vec<_>>>().ok_or(URL)?;
    let server = if is_sentinel {
        let master = path.next().filter(|name| name.parse::<i64>().is_err());
        let master = master.ok_or("the master's name, as the sentinels have it: redis+sentinel://HOST:26379/NAME/3")?;
        Server::Sentinels { nodes, master: master.to_string() }
    } else {
        let first = nodes.pop().filter(|_| nodes.is_empty());
        Server::At(first.ok_or("one host; several are sentinels: redis+sentinel://HOST:26379,HOST:26379/NAME/3")?)
    };
    let database = path.next().map_or(Some(0), |text| text.parse().ok()).filter(|number| *number >= 0);
    let database =
        database.filter(|_| path.next().is_none()).ok_or("the number of a database at its end, such as /3")?;
    Ok(Parsed { server, database, is_tls, user, password })
}

fn parse_unix(text: &str) -> Result<Parsed, &'static str> {
    const UNIX: &str = "redis+unix:///run/redis/redis.sock?db=3";
    let url = Url::parse(text).map_err(|_| UNIX)?;
    if url.host_str().is_some_and(|host| !host.is_empty()) || url.path().len() < 2 || url.fragment().is_some() {
        return Err(UNIX);
    }
    let mut database = 0;
    for (key, value) in url.query_pairs() {
        match (key.as_ref(), value.parse::<i64>()) {
            ("db", Ok(number)) if number >= 0 => database = number,
            _ => return Err(UNIX),
        }
    }
    let path = PathBuf::from(decoded(url.path()).ok_or(UNIX)?);
    Ok(Parsed { server: Server::Unix(path), database, is_tls: false, user: None, password: None })
}

type Who = (Option<String>, Option<String>);

/// `user:password`, `:password` or `user`.
fn who_is(text: &str) -> Result<Who, &'static str> {
    let expected = "a user and a password in percent-encoding; or `user` and `password_file`, which need none";
    let (user, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let user = decoded(user).ok_or(expected)?;
    let password = password.map(|password| decoded(password).ok_or(expected)).transpose()?;
    Ok((Some(user).filter(|user| !user.is_empty()), password.filter(|password| !password.is_empty())))
}

/// Percent-encoding undone (RFC 3986, 2.1); None where it is none, or no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.bytes());
    }
    String::from_utf8(bytes).ok()
}

fn node(text: &str, default: u16) -> Option<Node> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")).filter(|_| after.len() != 1)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    let port = if port.is_empty() { default } else { port.parse().ok().filter(|port| *port > 0)? };
    (!host.is_empty() && host.chars().all(is_plain)).then(|| Node { host: host.to_string(), port })
}

#[cfg(test)]
mod tests;

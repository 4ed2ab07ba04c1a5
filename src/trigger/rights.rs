//! Whose rights a process has that is started for a site, and what of our environment it gets to see.
//!
//! Site code has all the rights of its process. So it is never root's, and never has the capabilities by which this daemon
//! may become somebody else.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::wp_content::{wp_config, wp_content};
use crate::config::{Site, User, WpCli};
use crate::outcome::Failure;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Nothing that holds a secret, and no WP_CLI_ALLOW_ROOT.
const KEPT: [&str; 4] = ["LANG", "LC_ALL", "TZ", "PATH"];
/// What is ours alone: another user could not write there, or would be called by our name.
const OWN: [&str; 4] = ["HOME", "USER", "LOGNAME", "TMPDIR"];
const KEPT_FOR_WRAPPERS: [&str; 4] = ["DOCKER_HOST", "KUBECONFIG", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"];

/// Who PHP is to be.
enum Account<'a> {
    Ours,
    User(&'a User),
    Owner { uid: u32, gid: u32 },
}

pub struct Rights<'a> {
    account: Account<'a>,
    wrapper: &'a [String],
}

impl<'a> Rights<'a> {
    pub fn of(site: &Site, wp_cli: &'a WpCli) -> Result<Self, Failure> {
        let own = rustix::process::geteuid();
        let account = match &wp_cli.user {
            Some(user) if user.uid != own.as_raw() => Account::User(user),
            // `plugin install` needs root where wp-config.php is not for others to write.
            None if own.is_root() && wp_cli.wrapper.is_empty() => owner(site)?,
            _ => Account::Ours,
        };
        Ok(Self { account, wrapper: &wp_cli.wrapper })
    }

    /// Of this user; None: our own. For a job, whose daemon refuses to be root, and where root asks PHP.
    pub fn of_user(user: Option<&'a User>) -> Self {
        let own = rustix::process::geteuid().as_raw();
        let account = user.filter(|user| user.uid != own).map_or(Account::Ours, Account::User);
        Self { account, wrapper: &[] }
    }

    /// The words in front of PHP. setpriv(1) becomes the program that it starts, so that one stays our child.
    pub fn words(&self) -> Vec<String> {
        let mut words = match &self.account {
            Account::Ours => Vec::new(),
            Account::User(user) => reuid(&user.name, user.gid, "--init-groups"),
            Account::Owner { uid, gid } => reuid(&uid.to_string(), *gid, "--clear-groups"),
        };
        if !words.is_empty() || has_ambient_capabilities() {
            let fewer = ["--inh-caps=-all", "--ambient-caps=-all", "--"].map(str::to_string);
            words = [vec!["setpriv".to_string()], words, fewer.to_vec()].concat();
        }
        words.extend(self.wrapper.iter().cloned());
        words
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        let ours = |name: &'static str| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?));
        let mut kept: Vec<_> = KEPT.into_iter().filter_map(ours).collect();
        match &self.account {
            Account::Ours => kept.extend(OWN.into_iter().filter_map(ours)),
            Account::User(user) => {
                kept.push(("HOME", user.home.display().to_string()));
                kept.extend(["USER", "LOGNAME"].map(|name| (name, user.name.clone())));
            }
            Account::Owner { .. } => {}
        }
        if !self.wrapper.is_empty() {
            kept.extend(KEPT_FOR_WRAPPERS.into_iter().filter_map(ours));
        }
        if !kept.iter().any(|(name, _)| *name == "PATH") {
            kept.push(("PATH", PATH.to_string()));
        }
        kept.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

/// Whoever the site's files belong to.
fn owner<'a>(site: &Site) -> Result<Account<'a>, Failure> {
    match files_of(&site.path.clone().unwrap_or_default()) {
        Some(metadata) => Ok(Account::Owner { uid: metadata.uid(), gid: metadata.gid() }),
        None => Err(Failure::Misconfigured(
            "its code would run as root, and have the whole machine; `user` names the one that it is to run as".into(),
        )),
    }
}

/// What PHP writes comes first. None where all belongs to root.
pub fn files_of(root: &Path) -> Option<Metadata> {
    let files = [Some(wp_content(root)), wp_config(root), Some(root.to_path_buf())];
    files.iter().flatten().filter_map(|file| fs::metadata(file).ok()).find(|metadata| metadata.uid() != 0)
}

fn reuid(user: &str, gid: u32, groups: &str) -> Vec<String> {
    ["--reuid", user, "--regid", &gid.to_string(), groups].map(str::to_string).to_vec()
}

fn has_ambient_capabilities() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapAmb:"));
    set.is_some_and(|set| set.trim().chars().any(|digit| digit != '0'))
}

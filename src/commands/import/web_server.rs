//! Under which address does the web server of this machine serve a folder? Where wp-config.php is silent, nginx and Apache
//! know, as far as one virtual host names both.

use std::fs;
use std::path::{Path, PathBuf};

use crate::commands::crontab;

/// Where distributions keep virtual hosts, below /etc.
const FOLDERS: [&str; 5] =
    ["nginx/sites-enabled", "nginx/conf.d", "apache2/sites-enabled", "httpd/conf.d", "apache2/vhosts.d"];

#[derive(Debug, Default)]
struct Host {
    root: Option<PathBuf>,
    name: Option<String>,
    has_tls: bool,
}

/// None: nobody serves it, or under more than one address.
pub fn address_of(path: &Path, etc: &Path) -> Option<String> {
    let mut hosts = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(etc.join(folder)).into_iter().flatten().flatten();
        let texts = entries.filter_map(|entry| crontab::read(&entry.path(), None).ok()).map(|file| file.text);
        for text in texts {
            hosts.extend(if folder.starts_with("nginx") { nginx(&text) } else { apache(&text) });
        }
    }
    hosts.retain(|host| host.root.as_deref() == Some(path) && host.name.is_some());
    if hosts.iter().any(|host| host.has_tls) {
        hosts.retain(|host| host.has_tls);
    }
    let mut urls: Vec<String> = hosts
        .iter()
        .filter_map(|host| Some(format!("{}://{}", if host.has_tls { "https" } else { "http" }, host.name.as_ref()?)))
        .collect();
    urls.sort();
    urls.dedup();
    urls.pop().filter(|_| urls.is_empty())
}

fn is_name(name: &str) -> bool {
    name.contains('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
        && !name.starts_with('.')
}

fn folder(words: &[&str]) -> Option<PathBuf> {
    let [path] = words else { return None };
    let path = path.trim_matches(['"', '\'']);
    path.starts_with('/').then(|| Path::new(path).components().collect())
}

/// `server { root ...; server_name ...; listen 443 ssl; }`; what stands in blocks within it says nothing about the whole.
fn nginx(text: &str) -> Vec<Host> {
    let text: String = text.lines().map(|line| line.split('#').next().unwrap_or_default().to_string() + "\n").collect();
    let (mut hosts, mut within, mut depth) = (Vec::new(), None, 0_usize);
    for statement in text.split_inclusive([';', '{', '}']) {
        let words: Vec<&str> = statement.trim_end_matches([';', '{', '}']).split_whitespace().collect();
        let is_own = within == Some(depth);
        match (statement.chars().last(), words.as_slice()) {
            (Some('{'), words) => {
                depth += 1;
                if words == ["server"] && within.is_none() {
                    within = Some(depth);
                    hosts.push(Host::default());
                }
            }
            (Some('}'), _) => {
                if is_own {
                    within = None;
                }
                depth = depth.saturating_sub(1);
            }
            (_, [key, values @ ..]) if is_own => {
                let Some(host) = hosts.last_mut() else { continue };
                match *key {
                    "root" => host.root = folder(values),
                    "server_name" => host.name = values.iter().find(|name| is_name(name)).map(ToString::to_string),
                    "listen" => host.has_tls |= values.contains(&"ssl"),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    hosts
}

/// `<VirtualHost *:443>`, ServerName, DocumentRoot.
fn apache(text: &str) -> Vec<Host> {
    let mut hosts = Vec::new();
    let mut is_within = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [key, values @ ..] = words.as_slice() else { continue };
        match (key.to_ascii_lowercase().as_str(), hosts.last_mut()) {
            ("<virtualhost", _) => {
                is_within = true;
                let has_tls = values.iter().any(|address| address.trim_end_matches('>').ends_with(":443"));
                hosts.push(Host { has_tls, ..Host::default() });
            }
            ("</virtualhost>", _) => is_within = false,
            ("documentroot", Some(host)) if is_within => host.root = folder(values),
            ("servername", Some(host)) if is_within => {
                host.name = values.first().filter(|name| is_name(name)).map(ToString::to_string);
            }
            _ => {}
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_host_says_under_which_address_a_folder_is_served() {
        let nginx = "server { listen 80; server_name shop.example www.shop.example; return 301 https://$host; }\n\
            server {\n  listen 443 ssl http2; # both\n  server_name _ shop.example;\n  root /var/www/shop/;\n\
              location /x { root /var/www/other; }\n  index index.php;\n}\n\
            server { listen 80; server_name two.example; root /var/www/two; }\n\
            server { listen 80; server_name three.example; root /var/www/two; }\n\
            server { server_name *.example; root /var/www/star; }\n";
        let apache = "<VirtualHost *:80>\nServerName blog.example\nDocumentRoot \"/var/www/blog\"\n</VirtualHost>\n\
            <VirtualHost *:443>\n  servername blog.example\n  DocumentRoot /var/www/blog\n</VirtualHost>\nDocumentRoot /var/www/none\n";
        let etc = tempfile::tempdir().unwrap();
        for (folder, text) in [("nginx/sites-enabled", nginx), ("apache2/sites-enabled", apache)] {
            fs::create_dir_all(etc.path().join(folder)).unwrap();
            fs::write(etc.path().join(folder).join("x.conf"), text).unwrap();
        }
        for (path, expected) in [
            ("/var/www/shop", Some("https://shop.example")),
            ("/var/www/blog", Some("https://blog.example")),
            ("/var/www/two", None),
            ("/var/www/other", None),
            ("/var/www/star", None),
            ("/var/www/none", None),
        ] {
            assert_eq!(address_of(Path::new(path), etc.path()).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn no_configuration_makes_it_fall_over() {
        let words = [
            "server",
            "{",
            "}",
            ";",
            "root /x",
            "server_name a.b",
            "<VirtualHost",
            "</VirtualHost>",
            "ServerName",
            "#",
            "\n",
            "é",
        ];
        crate::fuzz::each(500, |random| {
            let text: String = (0..random.within(0, 30)).map(|_| format!("{} ", random.pick::<&str>(&words))).collect();
            let named = nginx(&text).into_iter().chain(apache(&text)).filter_map(|host| host.name);
            assert!(named.into_iter().all(|name| is_name(&name)), "{text}");
        });
    }
}

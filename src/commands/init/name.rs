//! What a site is called: after its address, or its folder where the address has no name.

use std::net::IpAddr;
use std::path::Path;

use reqwest::Url;

const LONGEST: usize = 64;
/// Folders that every second site has.
const COMMON: [&str; 9] = ["wp", "web", "www", "html", "htdocs", "httpdocs", "public", "public_html", "current"];

/// Valid, and none of those that are taken.
pub fn of(url: &Url, root: &Path, taken: &[&str]) -> String {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let has_name = !host.is_empty() && host != "localhost" && host.parse::<IpAddr>().is_err();
    let named = match has_name {
        true => format!("{}{}", host.strip_prefix("www.").unwrap_or(host), url.path()),
        false => folder(root),
    };
    let plain = plain(&named);
    let plain = if plain.is_empty() { "site".to_string() } else { plain };
    free(&plain, taken)
}

fn folder(root: &Path) -> String {
    let names = root.ancestors().filter_map(|folder| folder.file_name()?.to_str());
    names.map(str::to_string).find(|name| !COMMON.contains(&name.as_str())).unwrap_or_default()
}

/// Of the characters that a name may have.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for c in name.to_lowercase().chars().take(LONGEST) {
        match c {
            'a'..='z' | '0'..='9' | '_' => plain.push(c),
            _ if plain.is_empty() || plain.ends_with('-') => {}
            _ => plain.push('-'),
        }
    }
    plain.trim_end_matches('-').to_string()
}

fn free(name: &str, taken: &[&str]) -> String {
    let numbered = (2..).map(|number: u32| {
        let end = format!("-{number}");
        let stem: String = name.chars().take(LONGEST - end.len()).collect();
        stem + &end
    });
    let mut names = std::iter::once(name.to_string()).chain(numbered);
    names.find(|name| !taken.contains(&name.as_str())).unwrap_or_else(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_called_after_its_address() {
        let long = format!("https://{}.example", "a".repeat(63));
        for (url, root, taken, expected) in [
            ("https://shop.example", "/var/www/shop", &[][..], "shop-example"),
            ("https://www.shop.example/", "/srv/x", &[], "shop-example"),
            ("https://example.org/blog", "/srv/x", &[], "example-org-blog"),
            ("https://shop.example", "/srv/x", &["shop-example", "shop-example-2"], "shop-example-3"),
            ("http://127.0.0.1:8080", "/var/www/shop/html", &[], "shop"),
            ("http://[::1]", "/srv/Mein Laden/web/wp", &[], "mein-laden"),
            ("http://localhost", "/", &[], "site"),
            ("http://localhost", "/srv/über", &[], "ber"),
            ("https://münchen.example", "/srv/x", &[], "xn--mnchen-3ya-example"),
            (&long, "/srv/x", &[], &"a".repeat(63)),
        ] {
            let name = of(&Url::parse(url).unwrap(), Path::new(root), taken);
            let expected = if expected.starts_with("xn--") { "xn-mnchen-3ya-example" } else { expected };
            assert_eq!(name, expected, "{url} {root}");
            assert!(name.len() <= LONGEST);
        }
    }
}

//! The command lines of curl, wget and their like: which address do they fetch, and what of it matters to who fetches it
//! in their place?

use super::shell::Word;

/// What a fetching program was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fetch {
    pub urls: Vec<Word>,
    /// A file that keeps the answer, or how it went.
    pub file: Option<String>,
    /// An option that nothing here has a counterpart for.
    pub obstacle: Option<String>,
    /// The certificate is not looked at.
    pub is_insecure: bool,
    /// It goes where a redirect points.
    pub is_following: bool,
    /// It asks whether the page is there, without the page.
    pub is_head: bool,
    /// It says that it is another program, which some servers ask for.
    pub has_agent: bool,
    /// The answer goes where it is said, if it goes anywhere.
    has_output: bool,
}

/// The options of one program that change nothing about what is fetched.
struct Program {
    names: &'static [&'static str],
    /// One letter each.
    flags: &'static str,
    /// One letter each; a value follows, in the same word or the next.
    valued: &'static str,
    long_flags: &'static [&'static str],
    long_valued: &'static [&'static str],
    follows: bool,
    /// Without a word about it, the answer goes into a file that has the address's name.
    keeps: bool,
}

const CURL: Program = Program {
    names: &["curl"],
    flags: "sSfLkvigN46#jI",
    valued: "omAw",
    long_flags: &[
        "silent",
        "show-error",
        "fail",
        "location",
        "insecure",
        "verbose",
        "include",
        "compressed",
        "globoff",
        "no-buffer",
        "no-progress-meter",
        "progress-bar",
        "ipv4",
        "ipv6",
        "http1.0",
        "http1.1",
        "http2",
        "fail-with-body",
        "tlsv1.2",
        "location-trusted",
        "retry-connrefused",
        "retry-all-errors",
    ],
    long_valued: &[
        "output",
        "max-time",
        "connect-timeout",
        "retry",
        "retry-delay",
        "retry-max-time",
        "user-agent",
        "write-out",
        "max-redirs",
        "stderr",
    ],
    follows: false,
    keeps: false,
};

const WGET: Program = Program {
    names: &["wget", "wget2"],
    flags: "qvb46ScNd",
    valued: "OoatTUPw",
    long_flags: &[
        "quiet",
        "no-verbose",
        "spider",
        "delete-after",
        "background",
        "no-cache",
        "no-check-certificate",
        "inet4-only",
        "inet6-only",
        "server-response",
        "no-clobber",
        "no-directories",
        "no-proxy",
        "no-hsts",
        "https-only",
        "no-cookies",
        "retry-connrefused",
        "content-on-error",
    ],
    long_valued: &[
        "output-document",
        "output-file",
        "append-output",
        "tries",
        "timeout",
        "user-agent",
        "connect-timeout",
        "read-timeout",
        "dns-timeout",
        "max-redirect",
        "secure-protocol",
        "wait",
        "waitretry",
        "directory-prefix",
    ],
    follows: true,
    keeps: true,
};

const BROWSER: Program = Program {
    names: &["lynx", "links", "elinks", "w3m", "GET", "http", "https"],
    flags: "q",
    valued: "o",
    long_flags: &["dump", "source", "follow", "dump_source"],
    long_valued: &[],
    follows: true,
    keeps: false,
};

/// FreeBSD's.
const FETCH: Program = Program {
    names: &["fetch"],
    flags: "q",
    valued: "o",
    long_flags: &[],
    long_valued: &["output"],
    follows: true,
    keeps: true,
};

/// What `words` fetch, program first. None: the program is none that fetches.
pub fn fetch(words: &[Word]) -> Option<Fetch> {
    let (program, rest) = words.split_first()?;
    let name = program.text.rsplit('/').next().unwrap_or_default();
    let known = [&CURL, &WGET, &BROWSER, &FETCH].into_iter().find(|known| known.names.contains(&name))?;
    let mut fetch = Fetch { is_following: known.follows, ..Fetch::default() };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match word.text.as_str() {
            "--" => {}
            "-" => {}
            "-dump" | "-source" | "-dump_source" | "-accept_all_cookies" if known.names == BROWSER.names => {}
            "--url" => fetch.urls.extend(rest.next().cloned()),
            "-X" | "--request" => {
                if rest.next().is_none_or(|method| method.text != "GET") {
                    fetch.hinder(name, &word.text);
                }
            }
            "-nv" | "-nc" | "-nd" | "-nH" => {}
            text if text.starts_with("--") => known.long(name, text, &mut rest, &mut fetch),
            text if text.starts_with('-') => known.short(name, text, &mut rest, &mut fetch),
            _ => fetch.urls.push(word.clone()),
        }
    }
    if known.keeps && !fetch.has_output {
        fetch.file = fetch.urls.first().map(|url| url.text.clone());
    }
    Some(fetch)
}

impl Program {
    fn long<'a>(&self, name: &str, word: &str, rest: &mut impl Iterator<Item = &'a Word>, fetch: &mut Fetch) {
        let (option, value) = match word.trim_start_matches('-').split_once('=') {
            Some((option, value)) => (option, Some(value.to_string())),
            None => (word.trim_start_matches('-'), None),
        };
        if let Some(url) = value.as_ref().filter(|_| option == "url") {
            fetch.urls.push(Word { text: url.clone(), is_exact: !url.contains('$') });
        } else if self.long_flags.contains(&option) {
            fetch.is_insecure |= matches!(option, "insecure" | "no-check-certificate");
            fetch.is_following |= option.starts_with("location");
            fetch.is_head |= option == "spider";
            fetch.has_output |= matches!(option, "spider" | "delete-after");
        } else if self.long_valued.contains(&option) {
            let value = value.or_else(|| rest.next().map(|word| word.text.clone()));
            fetch.has_agent |= option == "user-agent";
            fetch.has_output |= matches!(option, "output" | "output-document");
            if matches!(option, "output" | "output-document" | "output-file" | "append-output" | "stderr") {
                fetch.keep(value);
            }
        } else {
            fetch.hinder(name, word.split('=').next().unwrap_or(word));
        }
    }

    fn short<'a>(&self, name: &str, word: &str, rest: &mut impl Iterator<Item = &'a Word>, fetch: &mut Fetch) {
        let mut letters = word.chars();
        letters.next();
        while let Some(letter) = letters.next() {
            if self.valued.contains(letter) {
                let attached = letters.as_str().to_string();
                let value =
                    if attached.is_empty() { rest.next().map(|word| word.text.clone()) } else { Some(attached) };
                fetch.has_agent |= matches!(letter, 'A' | 'U');
                fetch.has_output |= matches!((letter, name), ('o', "curl" | "fetch") | ('O', _));
                if matches!(letter, 'o' | 'O' | 'a') {
                    fetch.keep(value);
                }
                return;
            }
            if !self.flags.contains(letter) {
                return fetch.hinder(name, &format!("-{letter}"));
            }
            fetch.is_insecure |= (letter, name) == ('k', "curl");
            fetch.is_following |= (letter, name) == ('L', "curl");
            fetch.is_head |= (letter, name) == ('I', "curl");
        }
    }
}

impl Fetch {
    fn keep(&mut self, file: Option<String>) {
        self.file = file.filter(|file| !matches!(file.as_str(), "-" | "/dev/null")).or(self.file.take());
    }

    fn hinder(&mut self, program: &str, option: &str) {
        let why = match (program, option) {
            ("curl", "-u" | "--user") | ("wget", "--user" | "--password" | "--http-user" | "--http-password") => {
                format!("`{program} {option}` sends a password, which belongs into a file: see `basic_auth_file`")
            }
            _ => format!("`{program} {option}` has no counterpart"),
        };
        self.obstacle.get_or_insert(why);
    }
}

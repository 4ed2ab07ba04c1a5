//! What cron lines put in front of a command: who runs it, how nicely, and for how long.

use super::super::shell::Word;
use super::{Line, base, is_assignment};

impl Line<'_> {
    /// What stands in front of the command proper. Nothing is left where a shell was given a text; that has been read then.
    pub(super) fn without_wrappers<'w>(&mut self, mut words: &'w [Word], depth: usize) -> &'w [Word] {
        while let Some((first, rest)) = words.split_first() {
            words = match base(first) {
                _ if is_assignment(&first.text) => rest,
                "env" => after_options(rest, &["-u", "--unset", "-C", "--chdir"]),
                "nice" => after_options(rest, &["-n", "--adjustment"]),
                "ionice" => after_options(rest, &["-c", "-n", "--class", "--classdata"]),
                "nohup" | "setsid" | "time" | "exec" | "command" | "chronic" | "cronic" | "builtin" | "stdbuf" => {
                    after_options(rest, &[])
                }
                "timeout" => skip(after_options(rest, &["-k", "-s", "--kill-after", "--signal"])),
                "flock" => {
                    let rest = skip(after_options(rest, &["-w", "-E", "--timeout", "--wait", "--conflict-exit-code"]));
                    match rest.split_first() {
                        Some((option, rest)) if matches!(option.text.as_str(), "-c" | "--command") => {
                            return self.nested(rest.first(), depth);
                        }
                        _ => rest,
                    }
                }
                "sudo" | "doas" => self.sudo(rest),
                "su" | "runuser" => match self.su(rest) {
                    Ok(rest) => rest,
                    Err(text) => return self.nested(text, depth),
                },
                "xargs" | "parallel" => {
                    self.hinder("it is a loop: `wp-cron-runner init PATH` looks after all sites of a network");
                    after_options(rest, &["-I", "-n", "-P", "-L", "-d", "-a", "-s", "-E", "-i"])
                }
                "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" => {
                    let is_text = |word: &&Word| word.text.starts_with('-') && word.text.ends_with('c');
                    let Some(at) = rest.iter().position(|word| is_text(&word)) else { return words };
                    return self.nested(rest.get(at + 1), depth);
                }
                _ => return words,
            };
        }
        words
    }

    fn nested<'w>(&mut self, text: Option<&Word>, depth: usize) -> &'w [Word] {
        if let Some(text) = text {
            self.read(&text.text, depth + 1);
        }
        &[]
    }

    fn sudo<'w>(&mut self, words: &'w [Word]) -> &'w [Word] {
        let options: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let user =
            options.iter().enumerate().take_while(|(_, word)| word.starts_with('-')).find_map(
                |(at, word)| match *word {
                    "-u" | "--user" => options.get(at + 1).map(ToString::to_string),
                    word => word.strip_prefix("--user=").or(word.strip_prefix("-u")).map(ToString::to_string),
                },
            );
        // `-Hu www-data`, and options before it that take a value.
        let joined = || options.windows(2).find(|pair| matches!(pair, [word, _] if is_joined_user(word)));
        let joined = joined().and_then(|pair| pair.get(1).map(ToString::to_string));
        self.user = user.or(joined).or(Some("root".to_string()));
        after_options(words, &["-u", "--user", "-g", "--group", "-C", "-h", "-p", "-Hu", "-nu", "-iu", "-Eu"])
    }

    /// The command, or the text for a shell.
    fn su<'w>(&mut self, words: &'w [Word]) -> Result<&'w [Word], Option<&'w Word>> {
        let mut rest = words.iter().enumerate();
        let (mut user, mut text) = (None, None);
        while let Some((at, word)) = rest.next() {
            match word.text.as_str() {
                "-c" | "--command" => text = rest.next().map(|(_, word)| word),
                "-u" | "--user" => user = rest.next().map(|(_, word)| word.text.clone()),
                "-s" | "--shell" | "-g" | "-G" => drop(rest.next()),
                "--" => return self.as_user(user, words.get(at + 1..).unwrap_or_default()),
                option if option.starts_with('-') => {}
                _ if user.is_some() && text.is_none() => {
                    return self.as_user(user, words.get(at..).unwrap_or_default());
                }
                name => user = Some(name.to_string()),
            }
        }
        self.user = user.or(Some("root".to_string()));
        Err(text)
    }

    fn as_user<'w>(&mut self, user: Option<String>, rest: &'w [Word]) -> Result<&'w [Word], Option<&'w Word>> {
        self.user = user.or(Some("root".to_string()));
        Ok(rest)
    }
}

fn is_joined_user(word: &str) -> bool {
    word.len() > 2 && word.starts_with('-') && !word.starts_with("--") && word.ends_with('u')
}

pub(super) fn skip(words: &[Word]) -> &[Word] {
    words.get(1..).unwrap_or_default()
}

/// What follows the options. Those of `valued` have a word of their own for their value.
pub(super) fn after_options<'w>(mut words: &'w [Word], valued: &[&str]) -> &'w [Word] {
    while let Some((first, rest)) = words.split_first() {
        words = match first.text.as_str() {
            "--" => return rest,
            option if valued.contains(&option) => skip(rest),
            option if option.starts_with('-') => rest,
            _ => return words,
        };
    }
    words
}

//! As much of the shell's language as crontab lines use: words, quotes, redirections, and what stands between commands.
//! Nothing is run and no file is looked at. What a word would become only when the shell runs stays as it is written, and
//! the word says so.

/// A word with its quotes taken away.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Word {
    pub text: String,
    /// The text is what the shell would hand on; else it holds a `$`, a pattern, or the like.
    pub is_exact: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// With its number, such as `2>`.
    pub operator: String,
    pub to: Word,
}

impl Redirect {
    /// Output that goes nowhere, or where the other output goes.
    pub fn is_harmless(&self) -> bool {
        let operator = self.operator.trim_start_matches(|c: char| c.is_ascii_digit());
        match operator {
            ">" | ">>" | ">|" | "&>" | "&>>" => self.to.text == "/dev/null",
            ">&" => matches!(self.to.text.as_str(), "1" | "2" | "/dev/null"),
            "<" => self.to.text == "/dev/null",
            _ => false,
        }
    }
}

/// A command of the line, up to the next `&&`, `;`, `|` and the like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    pub words: Vec<Word>,
    pub redirects: Vec<Redirect>,
    /// What follows it: one of [`OPERATORS`], or nothing.
    pub then: &'static str,
}

/// Longer ones first.
const OPERATORS: [&str; 9] = ["&&", "||", ";;", "|&", ";", "|", "&", "(", ")"];
/// Without quotes they end a word.
const ENDS: [char; 9] = [' ', '\t', ';', '|', '&', '(', ')', '<', '>'];
const REDIRECTS: [&str; 8] = ["&>>", "&>", ">>", ">&", ">|", "<&", ">", "<"];

/// The commands of a line. `variables` are put in where a word names them; HOME that is not among them becomes `~`.
/// None: a quote is not closed, or it is more of the language than is known here.
pub fn parts(line: &str, variables: &[(String, String)]) -> Option<Vec<Part>> {
    let mut lexer = Lexer { rest: line, variables };
    let (mut parts, mut part) = (Vec::new(), Part::default());
    loop {
        lexer.rest = lexer.rest.trim_start_matches([' ', '\t']);
        if lexer.rest.is_empty() || lexer.rest.starts_with('#') {
            break;
        }
        if let Some(operator) = lexer.redirect() {
            lexer.rest = lexer.rest.trim_start_matches([' ', '\t']);
            let to = lexer.word()?;
            part.redirects.push(Redirect { operator, to });
        } else if let Some(operator) = OPERATORS.iter().find(|operator| lexer.rest.starts_with(**operator)) {
            lexer.rest = lexer.rest.get(operator.len()..)?;
            part.then = operator;
            parts.push(std::mem::take(&mut part));
        } else if lexer.rest.starts_with("<<") {
            return None;
        } else {
            part.words.push(lexer.word()?);
        }
    }
    if part != Part::default() {
        parts.push(part);
    }
    Some(parts)
}

struct Lexer<'a> {
    rest: &'a str,
    variables: &'a [(String, String)],
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn redirect(&mut self) -> Option<String> {
        let number = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, after) = self.rest.split_at(number);
        let is_here = ["<<", "<(", ">(", "<>"].iter().any(|other| after.starts_with(other));
        let operator = REDIRECTS.iter().find(|operator| after.starts_with(**operator) && !is_here)?;
        if operator.starts_with('&') && number > 0 {
            return None;
        }
        self.rest = after.get(operator.len()..)?;
        Some(format!("{digits}{operator}"))
    }

    fn word(&mut self) -> Option<Word> {
        let mut word = Word { text: String::new(), is_exact: true };
        let mut is_empty = true;
        let is_end = |c: char| c == '/' || ENDS.contains(&c);
        if self.rest.strip_prefix('~').is_some_and(|after| after.chars().next().is_none_or(is_end)) {
            self.next();
            self.home(&mut word);
            is_empty = false;
        }
        while let Some(c) = self.rest.chars().next() {
            match c {
                _ if ENDS.contains(&c) => break,
                '\'' => {
                    self.next();
                    let (inside, after) = self.rest.split_once('\'')?;
                    word.text.push_str(inside);
                    self.rest = after;
                }
                '"' => {
                    self.next();
                    self.double_quoted(&mut word)?;
                }
                '\\' => {
                    self.next();
                    word.text.push(self.next()?);
                }
                '$' | '`' => self.expansion(&mut word, false)?,
                '*' | '?' | '[' | '{' | '}' | '~' => {
                    // `{}` is xargs's, and no pattern; nor does a file have the name of an address.
                    let is_address = c == '?' && word.text.contains("://");
                    // `~name` is another's home; bash looks for one behind `=` and `:` as well.
                    let is_home = word.text.is_empty() || word.text.ends_with(['=', ':']);
                    word.is_exact &= match c {
                        '~' => !is_home,
                        _ => is_address || self.rest.starts_with("{}") || word.text.ends_with('{'),
                    };
                    word.text.push(c);
                    self.next();
                }
                _ => {
                    word.text.push(c);
                    self.next();
                }
            }
            is_empty = false;
        }
        (!is_empty).then_some(word)
    }

    fn double_quoted(&mut self, word: &mut Word) -> Option<()> {
        loop {
            match self.rest.chars().next()? {
                '"' => {
                    self.next();
                    return Some(());
                }
                '\\' => {
                    self.next();
                    let next = self.next()?;
                    if !matches!(next, '$' | '`' | '"' | '\\') {
                        word.text.push('\\');
                    }
                    word.text.push(next);
                }
                '$' | '`' => self.expansion(word, true)?,
                c => {
                    word.text.push(c);
                    self.next();
                }
            }
        }
    }

    /// `$NAME` and `${NAME}` are put in where they are known. All else stays as it is written.
    fn expansion(&mut self, word: &mut Word, is_quoted: bool) -> Option<()> {
        let after = self.rest.get(1..)?;
        let written = match (self.rest.chars().next()?, after.chars().next()) {
            ('`', _) => after.find('`')? + 2,
            (_, Some('(')) => closing(self.rest, '(', ')')?,
            (_, Some('{')) => closing(self.rest, '{', '}')?,
            // `$'...'` and `$"..."` are bash's.
            (_, Some('\'' | '"')) if !is_quoted => return None,
            (_, Some(c)) if c.is_ascii_alphabetic() || c == '_' => {
                1 + after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len())
            }
            (_, Some(c)) if c.is_ascii_digit() || "@*#?!$-".contains(c) => 2,
            _ => {
                word.text.push('$');
                self.next();
                return Some(());
            }
        };
        let (written, rest) = self.rest.split_at_checked(written)?;
        self.rest = rest;
        let name = written.trim_start_matches("${").trim_start_matches('$').trim_end_matches('}');
        match self.variables.iter().find(|(known, _)| known == name) {
            Some((_, value)) => {
                word.text.push_str(value);
                // Without quotes the shell splits it at blanks and looks for patterns.
                word.is_exact &= is_quoted || !value.contains([' ', '\t', '*', '?', '[']);
            }
            None if name == "HOME" => self.home(word),
            None => {
                word.text.push_str(written);
                word.is_exact = false;
            }
        }
        Some(())
    }

    fn home(&self, word: &mut Word) {
        match self.variables.iter().find(|(known, _)| known == "HOME") {
            Some((_, home)) => word.text.push_str(home),
            None => {
                word.text.push('~');
                word.is_exact = false;
            }
        }
    }
}

/// How long it is up to the bracket that closes the first one.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at + 1);
            }
        }
    }
    None
}

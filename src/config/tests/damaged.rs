//! Files that a slip of the hand, a bad merge or a broken disk made of right ones.

use super::*;
use crate::fuzz::{self, Random};

const KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const PASSWORD: &str = "correct-horse-battery";

/// What is shipped and shown, and files that hold what does not belong there.
fn corpus() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let mut corpus: Vec<String> = blocks.map(|(block, _)| block.to_string()).collect();
    for name in ["full.toml", "wp-cron-runner.toml"] {
        corpus.push(fs::read_to_string(root.join("config").join(name)).unwrap());
    }
    assert!(corpus.len() >= 5, "{} files", corpus.len());
    corpus.push(format!("{SITE}secret = \"{PASSWORD}\"\n"));
    corpus.push(format!("{SITE}secret_file = \"{KEY}\"\n"));
    corpus.push(SITE.replace("//shop", &format!("//shopkeeper:{PASSWORD}@shop")));
    corpus.push(SITE.replace("/run/fpm.sock", KEY));
    corpus
}

const VALUES: [&str; 24] = [
    "5",
    "-1",
    "1.5",
    "nan",
    "true",
    "[]",
    "{}",
    "\"\"",
    "'x'",
    "1979-05-27",
    "99999999999999999999999",
    "0x10",
    "\"5s\"",
    "[[]]",
    "[\"a\", 1]",
    "{ a = 1 }",
    "\"\"\"\ntwo\nlines\"\"\"",
    "\"\\u0000\"",
    "\"\\u202e\"",
    "\"\\q\"",
    "",
    "=",
    "\"open",
    "\"../../x\"",
];

/// A line is gone, comes twice, elsewhere, or with another value; or is far too long.
fn edit(random: &mut Random, lines: &mut Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    let value = match random.within(0, 9) {
        0 => format!("\"{}\"", "x".repeat(random.below(5000))),
        1 => format!("{}1{}", "[".repeat(random.below(400)), "]".repeat(random.below(400))),
        2 => "{a=".repeat(random.below(400)),
        _ => (*random.pick(&VALUES)).to_string(),
    };
    match random.within(0, 5) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(one, lines[other].clone()),
        2 => lines.swap(one, other),
        3 => {
            let key = lines[one].split('=').next().unwrap_or_default().to_string();
            lines[one] = format!("{key}= {value}\n");
        }
        4 => {
            let at = lines[one].char_indices().map(|(at, _)| at).nth(random.below(20)).unwrap_or(0);
            lines[one].insert_str(at, &value);
        }
        _ => lines[one] = lines[one].replace("//", &format!("//{}", "y".repeat(random.below(100)))),
    }
}

/// Every word that a person gets to see of it.
fn told(refused: &Refused) -> String {
    let problems = refused.problems.iter().map(|problem| format!("{}\n{}\n", problem.message, problem.expected));
    problems.collect::<String>() + &refused.render(false)
}

/// Places are those of the text as it is shown: a covered letter of two bytes is two stars.
fn check_problems(refused: &Refused) {
    assert!(refused.problems.iter().any(|problem| problem.level == Level::Error), "refused without a reason");
    for problem in &refused.problems {
        let place = refused.place(problem);
        let mut numbers = place.rsplit(':').map(|number| number.parse::<usize>().expect("a line and a column"));
        let (column, line) = (numbers.next().unwrap(), numbers.next().unwrap());
        let text = refused.source.split('\n').nth(line - 1).unwrap_or_else(|| panic!("{place} is behind the end"));
        assert!(column <= text.chars().count() + 1, "{place} is behind the end of `{text}`");
        assert!(!problem.message.is_empty() && !problem.expected.is_empty());
    }
}

#[test]
fn a_damaged_file_is_read_or_refused_with_its_place_and_keeps_its_secrets() {
    let (corpus, path) = (corpus(), Path::new("/nonexistent/config.toml"));
    let (mut refusals, mut slowest) = (0, Duration::ZERO);
    fuzz::each(2500, |random| {
        let mut lines: Vec<String> = random.pick(&corpus).split_inclusive('\n').map(str::to_string).collect();
        for _ in 0..random.within(1, 3) {
            edit(random, &mut lines);
        }
        let mut bytes = lines.concat().into_bytes();
        let is_as_edited = !random.one_in(2);
        if !is_as_edited {
            random.damage(&mut bytes);
        }
        let source = String::from_utf8_lossy(&bytes).into_owned();
        let start = std::time::Instant::now();
        let read = parse(path, &source, Secrets::MayBeMissing);
        let Err(refused) = read else { return };
        let told = told(&refused);
        slowest = slowest.max(start.elapsed());
        refusals += 1;
        if !source.is_empty() {
            check_problems(&refused);
        }
        assert!(!told.contains(|c: char| c.is_control() && !c.is_whitespace()), "{told:?}");
        assert!(!(0..=32).any(|at| told.contains(&KEY[at..at + 32])), "half of a key is shown\n{told}");
        // Whose line has lost the key or the `@` cannot be known for a password.
        let is_known = source.lines().all(|line| !conceal(line).contains(PASSWORD));
        assert!(!(is_known && told.contains(PASSWORD)), "the password is shown\n{told}");
    });
    assert!(refusals > 1500, "only {refusals} were refused");
    assert!(slowest < Duration::from_secs(2), "the slowest took {slowest:?}");
}

#[test]
fn damaged_bytes_are_no_reason_to_panic() {
    let (corpus, fixture) = (corpus(), Fixture::new());
    let file = fixture.folder.path().join("config.toml");
    fuzz::each(300, |random| {
        let mut bytes = random.pick(&corpus).clone().into_bytes();
        for _ in 0..random.within(1, 8) {
            random.damage(&mut bytes);
        }
        fs::write(&file, &bytes).unwrap();
        if let Err(refused) = read(&file, Secrets::MayBeMissing) {
            let is_text = std::str::from_utf8(&bytes).is_ok();
            assert!(is_text || refused.to_string().contains("is not UTF-8 text (byte "), "{refused}");
        }
    });
}

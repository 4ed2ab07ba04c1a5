//! The rights that the shipped user has are those that the code needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if !path.ends_with("tests.rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The word after each `before`, up to `end`.
fn words(text: &str, before: &str, end: char) -> Vec<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split(end).next()).map(str::to_lowercase).collect()
}

#[test]
fn the_shipped_user_may_do_just_what_the_code_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    files(&root.join("src"), &mut sources);
    let mut called = BTreeSet::new();
    for source in &sources {
        called.extend(words(source, ".cmd(\"", '"'));
        called.extend(words(source, "redis.call('", '\''));
    }
    // What the library sends by itself: to sign in, to choose a database, to listen.
    called.extend(["hello", "auth", "select", "subscribe"].map(str::to_string));
    called.remove("script");
    called.insert("script|load".to_string());
    // Of sentinels; they are asked without a user.
    called.remove("sentinel");
    let acl = fs::read_to_string(root.join("config/redis.acl")).unwrap();
    let line = acl.lines().find(|line| line.starts_with("user ")).unwrap();
    let allowed: BTreeSet<String> =
        line.split_whitespace().filter_map(|word| word.strip_prefix('+')).map(str::to_string).collect();
    assert_eq!(allowed, called);
    assert!(line.contains(" ~wpcr:* &wpcr:* -@all "), "{line}");
}

//! The imports of `src` point downward only. The table is the design's: a module may use what stands below it, and
//! modules of one line never use one another, except where the line says "in order".

use std::fs;
use std::path::{Path, PathBuf};

/// Top first. Neighbours on one line do not know one another.
const LAYERS: [&[&str]; 17] = [
    &["main"],
    &["cli", "logging"],
    &["commands"],
    &["daemon"],
    &["api"],
    &["scheduler"],
    &["run_site", "run_job"],
    &["trigger", "lease", "history", "alerts", "metrics", "job"],
    &["redis_link", "outward"],
    &["config", "site"],
    &["schedule"],
    &["protocol"],
    &["outcome"],
    &["clock"],
    &["text"],
    &["fuzz"],
    &["build"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// `src/trigger/http.rs` belongs to `trigger`, as `src/trigger.rs` would.
fn module_of(source: &Path, file: &Path) -> String {
    let first = file.strip_prefix(source).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Every module that a line names as `crate::module`, also in `use crate::{a, b::c}`.
fn named_in(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list.trim_end_matches(['}', ';']).split(',').map(|item| word(item.trim()))),
            None => names.push(word(rest)),
        }
    }
    names.retain(|name| layer(name).is_some());
    names
}

#[test]
fn imports_point_downward_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut imports, mut wrong) = (0, 0, Vec::new());
    for file in files_below(&source) {
        let module = module_of(&source, &file);
        let own = layer(&module).unwrap_or_else(|| panic!("{} has no place in the table", file.display()));
        files += 1;
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            for named in named_in(line) {
                imports += 1;
                if named != module && layer(&named).is_some_and(|below| below <= own) {
                    let place = file.strip_prefix(&source).unwrap().display().to_string();
                    wrong.push(format!(
                        "src/{place}:{}: `{module}` may not use `{named}`: {}",
                        number + 1,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(files > 30 && imports > 60, "found {files} files and {imports} imports: is this the right folder?");
    assert!(wrong.is_empty(), "imports that point upward:\n{}", wrong.join("\n"));
}

#[test]
fn an_import_upward_would_be_found() {
    assert_eq!(named_in("use crate::scheduler::Scheduler;"), ["scheduler"]);
    assert_eq!(named_in("use crate::{clock, text};"), ["clock", "text"]);
    assert_eq!(named_in("    let x = crate::text::safe(crate::clock::local(1));"), ["text", "clock"]);
    assert!(named_in("// see crate::daemon").is_empty() && named_in("use crate::elsewhere;").is_empty());
    assert!(layer("trigger") < layer("site") && layer("run_site") < layer("history"));
}

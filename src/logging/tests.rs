use super::*;

/// As a hostile site's code would choose them: a terminal's orders, a line of the log, a NUL, what turns a line round, and ten
/// thousand bytes. What is no UTF-8 the plugin has made text of (`\xHH`).
const HOOKS: [&str; 4] = [
    "\u{1b}[2J\u{1b}]0;t\u{7}red",
    "a\n2026-01-01T00:00:00Z  INFO all is well",
    "nul\0\u{9b}31m",
    "\u{202e}txt\\xE9\"",
];

fn said(hook: &str) -> Said {
    // As the record of a run says it.
    let message = format!("{} failed: {}", text::safe(hook), text::safe(hook));
    let fields = vec![("site", "shop".to_string()), ("hook", text::safe_cut(hook, LONGEST))];
    Said { level: Level::WARN, message, fields }
}

/// Said by somebody who forgot to escape it.
fn raw(hook: &str) -> Said {
    let said = std::sync::Mutex::new(None);
    struct Catch<'a>(&'a std::sync::Mutex<Option<Said>>);
    impl<S: Subscriber> Layer<S> for Catch<'static> {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut said = Said { level: *event.metadata().level(), message: String::new(), fields: Vec::new() };
            event.record(&mut said);
            *self.0.lock().unwrap() = Some(said);
        }
    }
    let said: &'static _ = Box::leak(Box::new(said));
    let subscriber = tracing_subscriber::registry().with(Catch(said));
    tracing::subscriber::with_default(subscriber, || tracing::warn!(site = "shop", hook, "{hook} failed"));
    said.lock().unwrap().take().unwrap()
}

fn is_harmless(text: &str, lines: usize) -> bool {
    let is_steering = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    !text.chars().any(is_steering) && text.matches('\n').count() == lines
}

#[test]
fn hostile_names_are_harmless_in_every_form() {
    for hook in HOOKS.into_iter().chain([&*"long ".repeat(2000)]) {
        for said in [said(hook), raw(hook)] {
            let lines = said.message.matches('\n').count() + 1;
            let line = said.as_text("T", false);
            assert!(is_harmless(&line, lines), "{line:?}");
            assert!(line.lines().skip(1).all(|line| line.starts_with("  ")), "a line of its own: {line:?}");
            let line = said.as_json("T");
            assert!(is_harmless(&line, 1) && line.len() < 70_000, "{line:?}");
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["site"], "shop");
            let record = String::from_utf8_lossy(&journal::record(&said)).into_owned();
            let has_length = record.contains("MESSAGE\n");
            assert!(!record.contains('\u{1b}') && (!record.contains("\n2026-01-01") || has_length), "{record:?}");
        }
    }
}

#[test]
fn golden_lines() {
    assert_eq!(
        said(HOOKS[1]).as_text("T", false),
        "T  WARN a\\n2026-01-01T00:00:00Z  INFO all is well failed: a\\n2026-01-01T00:00:00Z  INFO all is well site=\"shop\"\n"
    );
    assert_eq!(
        raw(HOOKS[1]).as_text("T", false),
        "T  WARN a\n  2026-01-01T00:00:00Z  INFO all is well failed site=\"shop\"\n"
    );
    assert_eq!(
        raw(HOOKS[0]).as_text("T", true),
        "\u{1b}[2mT\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m \\x1B[2J\\x1B]0;t\\x07red failed \u{1b}[2msite=\u{1b}[0m\"shop\"\n"
    );
    assert_eq!(
        raw(HOOKS[3]).as_json("T"),
        "{\"hook\":\"\\\\u{202e}txt\\\\xE9\\\"\",\"level\":\"warn\",\"message\":\"\\\\u{202e}txt\\\\xE9\\\" failed\",\"site\":\"shop\",\"time\":\"T\"}\n"
    );
    let record = journal::record(&said(HOOKS[2]));
    assert_eq!(
        String::from_utf8(record).unwrap(),
        "PRIORITY=4\nSYSLOG_IDENTIFIER=wp-cron-runner\nMESSAGE=nul\\x00\\u{9b}31m failed: nul\\x00\\u{9b}31m\nSITE=shop\nHOOK=nul\\x00\\u{9b}31m\n"
    );
    let record = journal::record(&raw("a\nb"));
    assert!(record.windows(21).any(|part| part == b"MESSAGE\n\x0a\0\0\0\0\0\0\0a\nb f"), "{record:?}");
}

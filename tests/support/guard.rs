//! The plugin of a test's own site, changed: a guard taken away, or a point at which something dies.

use std::fs;

use super::account;
use super::site::Site;

/// What keeps events from being lost or doubled. A checker that sees nothing where one of them is missing is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    ProcessLock,
    Merge,
    ConditionalStart,
    Fence,
    Settle,
}

impl Guard {
    /// Takes it away: file of the plugin, where its function stands (texts that follow one another), and what the function
    /// begins with from now on.
    fn broken(self) -> &'static [(&'static str, &'static [&'static str], &'static str)] {
        match self {
            // Every lock is had, and none is held by anybody. Not while the kind of lock is proven, or it would be seen.
            Guard::ProcessLock => &[
                (
                    "locks.php",
                    &["class Session_Locks", "function take("],
                    "if ( 0 !== strpos( (string) reset( $names ), 'wpcr-p:' ) ) { return $names; }",
                ),
                ("locks.php", &["class Session_Locks", "function is_held("], "return false;"),
            ],
            Guard::Merge => &[("merge.php", &["function filter_pre_update_option("], "return $value;")],
            // Whatever has become of a claimed row meanwhile, it is started.
            Guard::ConditionalStart => &[(
                "journal.php",
                &["function move_row("],
                "if ( 'running' === $to ) { $from = journal_row( $db, $run )['state']; }",
            )],
            Guard::Fence => &[("owner.php", &["function check_epoch("], "return;")],
            Guard::Settle => &[("settle.php", &["function settle_runs("], "return array();")],
        }
    }
}

impl Site {
    /// Before the site's first call.
    pub fn without(&self, guard: Guard) {
        for (file, place, code) in guard.broken() {
            self.enter_plugin(file, place, code);
        }
    }

    /// Puts a line at the beginning of a function of the installed plugin. What `place` names has to be there, once and in
    /// this order; how the function's parameters are written does not matter.
    pub fn enter_plugin(&self, file: &str, place: &[&str], code: &str) {
        self.edit_plugin(file, |text| {
            let mut at = 0;
            for name in place {
                at += text[at..].find(name).unwrap_or_else(|| panic!("{file} does not have this any more: {name}"));
            }
            at += text[at..].find('{').expect("a function's body") + 1;
            format!("{}\n{code}{}", &text[..at], &text[at..])
        });
    }

    /// Replaces text that the installed plugin's file has exactly once.
    pub fn change_plugin(&self, file: &str, from: &str, to: &str) {
        self.edit_plugin(file, |text| {
            assert_eq!(text.matches(from).count(), 1, "{file} does not have this once any more: {from}");
            text.replace(from, to)
        });
    }

    fn edit_plugin(&self, file: &str, edit: impl Fn(&str) -> String) {
        let path = self.path.join("wp-content/mu-plugins/wp-cron-runner/src").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::write(&path, edit(&text)).expect("a file of the plugin");
        account::give_to(account::SITE, &path);
    }
}

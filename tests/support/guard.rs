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
    /// Takes it away: file of the plugin, the text that is there, what it becomes.
    fn broken(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            // Every lock is had, and none is held by anybody.
            Guard::ProcessLock => &[
                (
                    "locks.php",
                    "public function take( array $names ): array {\n\t\treturn $this->ask(",
                    "public function take( array $names ): array {\n\t\treturn $names;\n\t\treturn $this->ask(",
                ),
                (
                    "locks.php",
                    "public function is_held( string $name ): bool {\n\t\treturn null !==",
                    "public function is_held( string $name ): bool {\n\t\treturn false;\n\t\treturn null !==",
                ),
            ],
            Guard::Merge => &[("merge.php", "if ( 'cron' !== $option ) {", "if ( true ) {")],
            Guard::ConditionalStart => &[(
                "journal.php",
                "' WHERE run = ? AND state = ?', array_merge( $values, array( $run, $from ) )",
                "' WHERE run = ?', array_merge( $values, array( $run ) )",
            )],
            Guard::Fence => &[(
                "owner.php",
                "function check_epoch( Connection $db, int $epoch ): void {",
                "function check_epoch( Connection $db, int $epoch ): void {\n\treturn;",
            )],
            Guard::Settle => &[(
                "settle.php",
                "function settle_runs( Connection $db, Locks $locks, array $ask ): array {",
                "function settle_runs( Connection $db, Locks $locks, array $ask ): array {\n\treturn array();",
            )],
        }
    }
}

impl Site {
    /// Before the site's first call: php-fpm looks at the time of a file every two seconds only.
    pub fn without(&self, guard: Guard) {
        for (file, from, to) in guard.broken() {
            self.change_plugin(file, from, to);
        }
    }

    /// Replaces text that the installed plugin's file has exactly once.
    pub fn change_plugin(&self, file: &str, from: &str, to: &str) {
        let path = self.path.join("wp-content/mu-plugins/wp-cron-runner/src").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(text.matches(from).count(), 1, "{file} does not have this once any more: {from}");
        fs::write(&path, text.replace(from, to)).expect("a file of the plugin");
        account::give_to(account::SITE, &path);
    }
}

//! Crontab lines as people write them.

mod calls;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

fn entries(text: &str, is_system: bool) -> Vec<Entry> {
    let entry = |line| match line {
        Line::Entry(entry) => Some(entry),
        _ => None,
    };
    parse(text, is_system).into_iter().filter_map(entry).collect()
}

fn reason(line: &str, is_system: bool) -> String {
    match parse(&format!("{line}\n"), is_system).remove(0) {
        Line::Wrong { reason, .. } => reason,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn variables_are_read_as_cron_reads_them() {
    for (line, expected) in [
        ("MAILTO=root", Some(("MAILTO", "root"))),
        ("  MAILTO = root  ", Some(("MAILTO", "root"))),
        ("MAILTO=\"\"", Some(("MAILTO", ""))),
        ("MAILTO=", Some(("MAILTO", ""))),
        ("\"A B\" = 'c d '", Some(("A B", "c d "))),
        ("PATH=/usr/bin:/bin # mine", Some(("PATH", "/usr/bin:/bin # mine"))),
        ("X=a\"b\"c", Some(("X", "a\"b\"c"))),
        ("X=\"it's\"", Some(("X", "it's"))),
        ("X=$HOME/bin", Some(("X", "$HOME/bin"))),
        ("X=100%", Some(("X", "100%"))),
        ("X\t=\ty", Some(("X", "y"))),
        // Something behind the quotes: cron then looks for an entry.
        ("X=\"a\" b", None),
        ("X=\"a", None),
        ("A B=c", None),
        ("\"A=B\"=c", None),
    ] {
        let read = match parse(&format!("{line}\n"), false).remove(0) {
            Line::Variable { name, value } => Some((name, value)),
            _ => None,
        };
        assert_eq!(read, expected.map(|(name, value)| (name.to_string(), value.to_string())), "{line}");
    }
}

#[test]
fn an_entry_knows_what_stands_above_it() {
    let text = "# daily\nA=1\n\n@daily  first  --x \nA=2\nB=3\n 5\t4 * * Mon-Fri   second\n";
    let read = entries(text, false);
    let pairs = |entry: &Entry| entry.environment.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ");
    assert_eq!((read[0].line, read[0].schedule.as_str(), read[0].command.as_str()), (4, "@daily", "first  --x "));
    assert_eq!((read[1].line, read[1].schedule.as_str(), read[1].command.as_str()), (7, "5 4 * * Mon-Fri", "second"));
    assert_eq!((pairs(&read[0]), pairs(&read[1])), ("A=1".into(), "A=2 B=3".into()));
    assert_eq!(parse(text, false)[0], Line::Comment("daily".into()));
    assert_eq!(read[1].variable("B"), Some("3"));
}

#[test]
fn a_system_table_has_a_column_with_the_user() {
    let read = entries("17 * * * * root    cd / && run-parts /etc/cron.hourly\n@reboot www-data x\n", true);
    assert_eq!(
        (read[0].user.as_deref(), read[0].command.as_str()),
        (Some("root"), "cd / && run-parts /etc/cron.hourly")
    );
    assert_eq!((read[1].user.as_deref(), read[1].schedule.as_str()), (Some("www-data"), "@reboot"));
    assert!(reason("17 * * * * root", true).contains("a user and a command"));
}

#[test]
fn percent_signs_are_newlines_of_the_input() {
    for (line, command, input) in [
        ("date +\\%F", "date +%F", None),
        ("mail x%Hello%%there", "mail x", Some("Hello\n\nthere\n")),
        ("cat%a%", "cat", Some("a\n")),
        ("cat%", "cat", None),
        ("cat%10\\% of \\x", "cat", Some("10% of \\x\n")),
        ("echo a\\\\b", "echo a\\b", None),
        ("echo \\n", "echo \\n", None),
        ("echo \\\\%x", "echo \\", Some("x\n")),
        ("a % b", "a ", Some(" b\n")),
    ] {
        let read = entries(&format!("* * * * * {line}\n"), false).remove(0);
        assert_eq!((read.command.as_str(), read.input.as_deref()), (command, input), "{line}");
    }
}

#[test]
fn what_cron_would_not_run_has_its_reason() {
    for (line, is_system, expected) in [
        ("61 * * * * x", false, "the field minute is \"61\""),
        ("* * * *", false, "five fields"),
        ("* * * * *", false, "nothing follows the times"),
        ("@daily", false, "nothing follows the times"),
        ("@Daily x", false, "small letters"),
        ("@every_minute x", false, "one of @reboot"),
        ("0 0 30 2 * x", false, "never comes"),
        ("-*/5 * * * * x", false, "SUSE"),
        ("0~59 * * * * x", false, "the field minute"),
        ("0 * * * * * x", false, "six fields"),
        ("0 * * * * * x y", true, "six fields"),
        ("* * * * * %x", false, "no command"),
        ("*/5 * * * * x\r", false, "carriage return"),
        ("MAILTO=x\r", false, "carriage return"),
        ("* * * * * x \u{1b}[31m", false, "control character `\\x1B`"),
        ("=x", false, "without a name"),
        ("hello", false, "five fields"),
    ] {
        let reason = reason(line, is_system);
        assert!(reason.contains(expected), "{line}: {reason}");
    }
    assert_eq!(parse("\r\n# x\r\n", false), [Line::Blank, Line::Comment("x".into())]);
}

#[test]
fn the_last_line_needs_its_newline() {
    let lines = parse("* * * * * a\n* * * * * b", false);
    assert!(matches!(&lines[0], Line::Entry(entry) if entry.command == "a"));
    assert!(matches!(&lines[1], Line::Wrong { line: 2, reason, .. } if reason.contains("no newline")), "{lines:?}");
    assert_eq!(parse("# bye", false), [Line::Comment("bye".into())]);
}

#[test]
fn a_machine_has_the_crontabs_that_cron_would_read() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &[u8], mode: u32| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("etc/crontab", b"# table\n", 0o644);
    write("etc/cron.d/shop", b"* * * * * www-data x\n", 0o644);
    write("etc/cron.d/shop.dpkg-old", b"* * * * * www-data y\n", 0o644);
    write("etc/cron.d/.placeholder", b"", 0o644);
    write("etc/cron.d/open", b"* * * * * www-data z\n", 0o666);
    write("etc/cron.d/bytes", b"# a\n# \xff\n", 0o644);
    let header = "# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (/tmp/x installed on Mon)\n# (Cron version -- $Id$)\n";
    write("var/spool/cron/crontabs/alice", format!("{header}@daily x\n").as_bytes(), 0o600);
    write("secret", b"root's", 0o600);
    symlink(root.path().join("secret"), root.path().join("var/spool/cron/crontabs/mallory")).unwrap();
    fs::create_dir(root.path().join("etc/cron.d/folder")).unwrap();

    let (found, refused) = of_this_machine(root.path());
    let names: Vec<_> = found
        .iter()
        .map(|one| (one.path.strip_prefix(root.path()).unwrap().to_str().unwrap(), one.owner.as_deref()))
        .collect();
    assert_eq!(
        names,
        [("etc/crontab", None), ("etc/cron.d/shop", None), ("var/spool/cron/crontabs/alice", Some("alice"))]
    );
    assert_eq!(found[2].text, "@daily x\n", "as `crontab -l` shows it");
    let said = |name: &str| &refused.iter().find(|(path, _)| path.ends_with(name)).expect(name).1;
    assert!(said("open").contains("mode 0666") && said("bytes").contains("line 2 is not UTF-8"), "{refused:?}");
    assert!(refused.len() == 3 && !said("mallory").is_empty(), "{refused:?}");
    if crate::commands::is_root() {
        chown(root.path().join("etc/cron.d/shop"), Some(65_534), None).unwrap();
        let (_, refused) = of_this_machine(root.path());
        assert!(refused.iter().any(|(path, why)| path.ends_with("shop") && why.contains("not to root")), "{refused:?}");
    }
    assert_eq!(of_this_machine(&root.path().join("nowhere")), (Vec::new(), Vec::new()));
}

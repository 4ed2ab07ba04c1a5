//! Where a site's wp-content is: beside wp-load.php, or where its wp-config.php says. Bedrock has it in web/app, and
//! WordPress itself in web/wp.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::text;

const LARGEST_FILE: u64 = 1 << 20;

/// PHP alone knows for sure; what is read here is a constant that stands there in full.
pub fn wp_content(root: &Path) -> PathBuf {
    let usual = root.join("wp-content");
    let named = wp_config(root).and_then(|file| {
        let folder = file.parent()?.to_path_buf();
        path_constant(&read(&file)?, "WP_CONTENT_DIR", &folder, root).or_else(|| bedrock(&folder, root))
    });
    named.filter(|folder| folder.is_dir()).unwrap_or(usual)
}

/// Beside wp-load.php, or one level above where that is no WordPress of its own: as WordPress itself looks for it.
pub fn wp_config(root: &Path) -> Option<PathBuf> {
    let here = root.join("wp-config.php");
    if here.is_file() {
        return Some(here);
    }
    let above = root.parent()?;
    let file = above.join("wp-config.php");
    (file.is_file() && !above.join("wp-settings.php").is_file()).then_some(file)
}

/// A text that a constant is defined as in the site's wp-config.php, where it stands there in full.
pub fn text_constant(root: &Path, name: &str) -> Option<String> {
    let code = without_comments(&read(&wp_config(root)?)?);
    quoted(expression(&code, name)?.trim())
}

/// Its wp-config.php says nothing; config/application.php beside the web root does.
fn bedrock(folder: &Path, root: &Path) -> Option<PathBuf> {
    let code = without_comments(&read(&folder.parent()?.join("config/application.php"))?);
    let named = expression(&code, "CONTENT_DIR").and_then(|value| quoted(value.trim()));
    let below = named.unwrap_or_else(|| "/app".to_string());
    (folder != root).then(|| folder.join(below.trim_start_matches('/')))
}

fn path_constant(code: &str, name: &str, folder: &Path, root: &Path) -> Option<PathBuf> {
    let code = without_comments(code);
    let mut path = String::new();
    for part in parts(expression(&code, name)?) {
        let compact: String = part.chars().filter(|c| !c.is_whitespace()).collect();
        match compact.as_str() {
            "__DIR__" | "dirname(__FILE__)" => path += folder.to_str()?,
            "ABSPATH" => path += &format!("{}/", root.to_str()?),
            _ => path += &quoted(part)?,
        }
    }
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

/// What stands between the comma of `define( 'NAME', ... )` and its end.
fn expression<'a>(code: &'a str, name: &str) -> Option<&'a str> {
    code.match_indices("define").find_map(|(at, word)| {
        let rest = code.get(at + word.len()..)?.trim_start().strip_prefix('(')?.trim_start();
        let rest = ['\'', '"'].into_iter().find_map(|quote| {
            rest.strip_prefix(quote)?.strip_prefix(name)?.strip_prefix(quote)?.trim_start().strip_prefix(',')
        })?;
        let (mut depth, mut quote) = (0_usize, None);
        for (at, c) in rest.char_indices() {
            match (quote, c) {
                (Some(open), _) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, '(') => depth += 1,
                (None, ')') if depth == 0 => return rest.get(..at),
                (None, ')') => depth -= 1,
                (None, ';') => return None,
                _ => {}
            }
        }
        None
    })
}

/// What dots join, but for those in strings.
fn parts(expression: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in expression.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '.') => {
                parts.extend(expression.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(expression.get(start..));
    parts.into_iter().map(str::trim).collect()
}

/// A string without anything in it that PHP would replace.
fn quoted(value: &str) -> Option<String> {
    let quote = value.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    let inside = value.get(1..)?.strip_suffix(quote)?;
    let is_plain = !inside.contains([quote, '\\']) && (quote == '\'' || !inside.contains('$'));
    (is_plain && !inside.is_empty()).then(|| inside.to_string())
}

/// The code with blanks in place of comments.
fn without_comments(code: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(code.len()), code);
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        let comment = match (quote, rest) {
            (None, _) if rest.starts_with("/*") => rest.find("*/").map(|end| end + 2).or(Some(rest.len())),
            (None, _) if rest.starts_with("//") || c == '#' => rest.find('\n').or(Some(rest.len())),
            _ => None,
        };
        if let Some(end) = comment {
            out.push(' ');
            rest = rest.get(end..).unwrap_or_default();
            continue;
        }
        let mut length = c.len_utf8();
        match quote {
            Some(_) if c == '\\' => length += rest.chars().nth(1).map_or(0, char::len_utf8),
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        out.push_str(rest.get(..length).unwrap_or_default());
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// The beginning of a file that others wrote, a megabyte at most. O_NONBLOCK, so that a pipe cannot hold us up.
pub fn read(path: &Path) -> Option<String> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(text::lossy(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_constant_is_read_where_it_stands_in_full() {
        for (code, expected) in [
            ("define( 'WP_HOME', 'https://shop.example' );", Some("https://shop.example")),
            ("define(\"WP_HOME\",\"https://shop.example\");", Some("https://shop.example")),
            (
                "// define( 'WP_HOME', 'https://old.example' );\ndefine('WP_HOME', 'https://new.example');",
                Some("https://new.example"),
            ),
            ("/* define( 'WP_HOME', 'https://old.example' ); */", None),
            ("# define( 'WP_HOME', 'https://old.example' );", None),
            ("$x = '// no comment'; define( 'WP_HOME' , 'https://a.example' );", Some("https://a.example")),
            ("$x = 'it\\'s'; define( 'WP_HOME', 'https://a.example' ); // it's", Some("https://a.example")),
            ("define( 'WP_HOME', 'https://' . $_SERVER['HTTP_HOST'] );", None),
            ("define( 'WP_HOME', \"https://$host\" );", None),
            ("define( 'WP_HOMEPAGE', 'https://a.example' );", None),
            ("define( 'WP_HOME', 'https://never.closed", None),
            ("define", None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("wp-config.php"), format!("<?php\n{code}")).unwrap();
            assert_eq!(text_constant(folder.path(), "WP_HOME").as_deref(), expected, "{code}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        let code =
            "/* é */ $x = \"\\\"é\"; # ü\n// ' \ndefine( 'WP_HOME', 'https://ü.example/' . (f(')') . \"\") ); 'é\\";
        let cuts = (0..=code.len()).filter(|at| code.is_char_boundary(*at));
        for at in cuts.clone() {
            for end in cuts.clone().filter(|end| *end >= at) {
                let part = without_comments(&code[at..end]);
                let value = expression(&part, "WP_HOME").map(parts).unwrap_or_default();
                assert!(value.iter().filter_map(|part| quoted(part)).all(|text| code.contains(&text)));
            }
        }
    }

    #[test]
    fn wp_content_is_where_the_configuration_says() {
        for (code, expected) in [
            ("", "wp/wp-content"),
            ("define( 'WP_CONTENT_DIR', __DIR__ . '/content' );", "content"),
            ("define( 'WP_CONTENT_DIR', dirname( __FILE__ ) . '/content' );", "content"),
            ("define( 'WP_CONTENT_DIR', ABSPATH . '../content' );", "wp/../content"),
            ("define( 'WP_CONTENT_DIR', __DIR__ . '/none' );", "wp/wp-content"),
            ("define( 'WP_CONTENT_DIR', $folder . '/content' );", "wp/wp-content"),
            ("define( 'WP_CONTENT_DIR', 'content' );", "wp/wp-content"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for name in ["wp/wp-content", "content"] {
                fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            fs::write(folder.path().join("wp-config.php"), format!("<?php\n{code}")).unwrap();
            assert_eq!(wp_content(&folder.path().join("wp")), folder.path().join(expected), "{code}");
        }
    }

    #[test]
    fn bedrock_has_its_own_place() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config", "web/wp/wp-content", "web/app", "web/else"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let (web, settings) = (folder.path().join("web"), folder.path().join("config/application.php"));
        fs::write(web.join("wp-config.php"), "<?php require_once dirname(__DIR__) . '/vendor/autoload.php';").unwrap();
        assert_eq!(wp_content(&web.join("wp")), web.join("wp/wp-content"), "no Bedrock yet");
        fs::write(&settings, "<?php\nConfig::define('CONTENT_DIR', '/app');\nConfig::define('WP_CONTENT_DIR', $webroot_dir . Config::get('CONTENT_DIR'));").unwrap();
        assert_eq!(wp_content(&web.join("wp")), web.join("app"));
        fs::write(&settings, "<?php\nConfig::define('CONTENT_DIR', '/else');").unwrap();
        assert_eq!(wp_content(&web.join("wp")), web.join("else"));
    }
}

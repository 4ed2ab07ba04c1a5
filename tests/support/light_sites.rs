//! Many sites for the price of one: one folder of WordPress, one php-fpm, one nginx. The host that is asked for decides about
//! database, key and ledger. Each is a `Site` like any other.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::account::{self, succeed};
use super::nginx::{self, Nginx};
use super::php_fpm::{self, PhpFpm};
use super::process::Port;
use super::site::{self, Database, Site, support_file, template};
use super::test_dir::TestDir;

/// In wp-config.php, before anything asks.
const BY_HOST: &str = r"
$fx_name = preg_replace( '/\.localhost(:\d+)?$/', '', $_SERVER['HTTP_HOST'] ?? '' );
$fx_key  = ( require '@DIR@/keys.php' )[ $fx_name ] ?? null;
if ( null === $fx_key ) {
	exit( 'no such site' );
}
define( 'DB_DIR', '@DIR@/' . $fx_name );
define( 'FX_LEDGER', '@DIR@/' . $fx_name . '/' . $fx_name . '.ledger' );
define( 'WP_CRON_RUNNER_SITE', $fx_name );
define( 'WP_CRON_RUNNER_KEYS', $fx_key );
";

const LOADER: &str = "<?php\nrequire __DIR__ . '/wp-cron-runner/wp-cron-runner.php';\n";

impl Site {
    /// `site-1`, `site-2` ... on SQLite, with the fixture and the plugin, and so many workers for all of them.
    pub fn many(count: usize, workers: u32) -> Vec<Site> {
        let dir = Arc::new(TestDir::new());
        let (port, path) = (Port::take(), dir.join("wordpress"));
        site::copy_site(&template(&["site", "7.1.1", "sqlite"]).join("site"), &path);
        site::copy_fixture(&path);
        install_plugin(&path);
        let names: Vec<String> = (1..=count).map(|number| format!("site-{number}")).collect();
        let keys: Vec<String> = names.iter().map(|_| random_key()).collect();
        let mut known = "<?php\nreturn array(\n".to_owned();
        for (name, key) in names.iter().zip(&keys) {
            writeln!(known, "\t'{name}' => '{key}',").expect("a line");
        }
        fs::write(dir.join("keys.php"), known + ");\n").expect("keys.php");
        site::add_to_wp_config(&path, &BY_HOST.replace("@DIR@", &dir.path().display().to_string()));
        // What is due on the template is moved ahead once, in the database that all are copied from.
        succeed(Command::new("php").arg(support_file("move-in.php")).arg(&path).arg("http://localhost"));
        fs::create_dir(dir.join("opcache")).expect("a directory for compiled files");

        let settings = php_fpm::Settings { workers, tcp: false, ini: &[], lines: &[], environment: Vec::new() };
        let php_fpm = PhpFpm::start(dir.path(), &settings);
        let nginx = Nginx::start(
            dir.path(),
            &nginx::Settings {
                port: &port,
                root: &path,
                fastcgi: &php_fpm.socket,
                read_timeout: "60s",
                basic_auth: None,
                certificate: None,
                lines: &[],
            },
        );
        let make = |(name, key): (String, String)| {
            let url = format!("http://{name}.localhost:{}", port.number);
            let own = dir.below(&name);
            let file = own.join(".ht.sqlite");
            fs::copy(path.join("wp-content/database/.ht.sqlite"), &file).expect("a database");
            give_address(&file, &url).expect("its address");
            fs::write(own.join(&format!("{name}.ledger")), "").expect("a ledger");
            symlink(dir.join("opcache"), own.join("opcache")).expect("a link");
            Site {
                nginx: nginx.clone(),
                php_fpm: php_fpm.clone(),
                database: Database::Sqlite { file },
                name,
                path: path.clone(),
                url,
                certificate: None,
                basic_auth: None,
                ini: Vec::new(),
                clock: None,
                key: Some(key),
                port: port.clone(),
                dir: own,
                _shared: Some(dir.clone()),
            }
        };
        let sites = names.into_iter().zip(keys).map(make).collect();
        let below = fs::read_dir(dir.path()).expect("the sites' folders").flatten().map(|entry| entry.path());
        for folder in below.filter(|path| path.is_dir() && !path.ends_with("wordpress") && !path.ends_with("nginx-tmp"))
        {
            account::give_to(account::SITE, &folder);
        }
        account::give_to(account::SITE, &path.join("wp-content"));
        account::give_to(account::SITE, &path.join("wp-config.php"));
        sites
    }
}

/// As `plugin install` does, which would write one key for all.
fn install_plugin(wordpress: &Path) {
    let must_use = wordpress.join("wp-content/mu-plugins");
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("wp-plugin");
    succeed(Command::new("cp").arg("-r").arg(plugin).arg(must_use.join("wp-cron-runner")));
    fs::write(must_use.join("wp-cron-runner.php"), LOADER).expect("the loader");
}

fn give_address(database: &Path, url: &str) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(database)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    let sql = "UPDATE wp_options SET option_value = ?1 WHERE option_name IN ('home', 'siteurl')";
    connection.execute(sql, [url]).map(|_| ())
}

fn random_key() -> String {
    let mut bytes = [0; 32];
    let random = fs::File::open("/dev/urandom").expect("/dev/urandom");
    std::io::Read::read_exact(&mut &random, &mut bytes).expect("random bytes");
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

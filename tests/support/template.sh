#!/bin/bash
# Makes, once, what fresh test sites are copied from, and prints the folder it is in.
#
#   template.sh site VERSION sqlite|mariadb    FOLDER/site: an installed WordPress (admin, password `admin`);
#                                              FOLDER/dump.sql: its tables, where it is for MariaDB
#   template.sh datadir                        FOLDER: an empty MariaDB data directory
#
# VERSION is `7.1.1` or `6.1`. A template's name holds a hash of what made it, so that a changed script makes a new one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./cache.sh

version=${2:-} database=${3:-}
templates="$cache/templates"
umask 022

wp() { php -d memory_limit=256M "$cache/wp-cli/wp-cli.phar" --allow-root --path="$work/site" --quiet "$@"; }

# Core's files are hard links: nobody writes them, and 4,000 copies would take a second. What a site writes is its own.
make_files() {
	cp -al "$cache/wordpress-$version" "$work/site"
	rm -rf "$work/site/wp-content" "$work/site/.complete"
	cp -r "$cache/wordpress-$version/wp-content" "$work/site/wp-content"
	rm -rf "$work/site/wp-content/plugins/"{akismet,hello.php}
	mkdir -p "$work/site/wp-content/mu-plugins" "$work/site/wp-content/uploads"
	if [ "$database" = sqlite ]; then
		cp -r "$cache/sqlite-database-integration" "$work/site/wp-content/plugins/"
		cp "$cache/sqlite-database-integration/db.copy" "$work/site/wp-content/db.php"
		if [ "$version" = 6.1 ]; then allow_old_wordpress; fi
	fi
}

# The drop-in asks for WordPress 6.4 because of one property, which it mirrors for WordPress's own tests and which an
# older wpdb reads from outside.
allow_old_wordpress() {
	sed -i 's/private \($allow_unsafe_unquoted_parameters\)/protected \1/' \
		"$work/site/wp-content/plugins/sqlite-database-integration/wp-includes/sqlite/class-wp-sqlite-db.php"
}

# A site for tests asks nobody outside for updates.
make_configuration() {
	wp config create --dbname=wordpress --dbuser=root --dbpass= --dbhost="$1" --skip-check --extra-php <<-'PHP'
	define( 'WP_HTTP_BLOCK_EXTERNAL', true );
	define( 'AUTOMATIC_UPDATER_DISABLED', true );
	PHP
}

# What is due right after an installation (pings, update checks) is run here, so that a fresh site's first due event is
# the test's own.
install_wordpress() {
	wp core install --url=http://localhost --title='Test site' --admin_user=admin --admin_password=admin \
		--admin_email=admin@example.com --skip-email
	wp cron event run --due-now
	rm -rf "$work/site/wp-content/upgrade"
}

make_sqlite_site() {
	make_files
	make_configuration localhost
	install_wordpress
}

make_mariadb_site() {
	local server
	make_files
	make_configuration "localhost:$work/mariadb.sock"
	cp -r "$(make_once "$(datadir_name)" make_datadir)" "$work/data"
	"$(mariadbd_binary)" --no-defaults --datadir="$work/data" --socket="$work/mariadb.sock" --skip-networking \
		--user="$(id -un)" >"$work/mariadb.log" 2>&1 &
	server=$!
	for _ in {1..300}; do
		mariadb --no-defaults --socket="$work/mariadb.sock" -u root -e 'CREATE DATABASE wordpress' 2>/dev/null && break
		kill -0 "$server" 2>/dev/null || { cat "$work/mariadb.log" >&2; exit 1; }
		sleep 0.1
	done
	install_wordpress
	mariadb-dump --no-defaults --socket="$work/mariadb.sock" -u root --skip-dump-date wordpress >"$work/dump.sql"
	kill "$server"
	wait "$server"
	rm -rf "$work/data" "$work"/mariadb.*
}

make_datadir() {
	# Whoever is not root hears of a PAM plugin that it may not touch, which is not used here.
	local said
	said=$(mariadb-install-db --no-defaults --datadir="$work" --user="$(id -un)" \
		--auth-root-authentication-method=normal --skip-test-db --innodb-log-file-size=8M 2>&1) ||
		{ echo "$said" >&2; exit 1; }
}

# The folder appears under its name only when it is complete; of several processes one makes it and the others wait.
make_once() {
	local folder="$templates/$1"
	if [ ! -d "$folder" ]; then
		mkdir -p "$templates"
		(
			exec 8>"$folder.lock"
			flock 8
			[ -d "$folder" ] && exit
			work=$(mktemp -d "$templates/making.XXXXXX")
			trap 'rm -rf "$work"' EXIT
			chmod 755 "$work"
			"$2" >&2 8>&-
			mv "$work" "$folder"
		)
	fi
	echo "$folder"
}

hash_of() { cat "$@" | sha256sum | cut -c1-12; }
datadir_name() { echo "datadir-$(hash_of template.sh <("$(mariadbd_binary)" --version))"; }

case "${1:-} $database" in
	'site sqlite' | 'site mariadb') make_once "$version-$database-$(hash_of template.sh install.sh)" "make_${database}_site" ;;
	'datadir ') make_once "$(datadir_name)" make_datadir ;;
	*) echo "template.sh: found \`$*\`; expected \`site VERSION sqlite|mariadb\` or \`datadir\`" >&2; exit 2 ;;
esac

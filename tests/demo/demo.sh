#!/bin/bash
# A real WordPress on SQLite behind php-fpm and nginx, the plugin, the runner, and a few events some seconds ahead.
#
#   make demo                    until Ctrl-C
#   DEMO_SECONDS=20 make demo    ends by itself; exit 0 only if every event ran exactly once
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/support/cache.sh

seconds=${DEMO_SECONDS:-}
if [[ ! $seconds =~ ^[0-9]*$ ]]; then
	echo "demo: DEMO_SECONDS is \`$seconds\`; expected a whole number of seconds" >&2
	exit 2
fi
say() { echo "demo: $*"; }

tests/support/install.sh demo
cargo build
target=$(cargo metadata --format-version 1 --no-deps | php -r 'echo json_decode(stream_get_contents(STDIN))->target_directory;')

# --- What Ctrl-C ends -------------------------------------------------------------------------------------------------

dir=$(mktemp -d "${TMPDIR:-/tmp}/wpcr-demo.XXXXXX")
chmod 755 "$dir"
pids=()
clean_up() {
	trap '' INT TERM HUP
	local pid
	# Last started, first ended: the runner finishes what it runs while php-fpm is still there.
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		pid=${pids[i]}
		kill "$pid" 2>/dev/null || continue
		for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In a session of its own, so that Ctrl-C reaches only this script, which then ends all of them in order.
start() { setsid "$@" </dev/null & pids+=($!); }

if [ "$(id -u)" = 0 ]; then
	site_user=www-data
	as_site_user=(setpriv "--reuid=$site_user" "--regid=$site_user" --init-groups --)
else
	site_user=
	as_site_user=()
fi
give_to_site_user() { [ -z "$site_user" ] || chown -R "$site_user:$site_user" "$@"; }

free_port() {
	local port=$1
	while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
	echo "$port"
}

wait_until() {
	local what=$1
	shift
	for _ in {1..150}; do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
	say "$what did not come up in 15 seconds" >&2
	tail -n 20 "$dir"/*.log >&2
	exit 1
}
listens_at() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

# --- The site ---------------------------------------------------------------------------------------------------------

site="$dir/shop"
port=$(free_port 8080)
url="http://127.0.0.1:$port"

make_site() {
	local template
	template=$(tests/support/template.sh site 7.1.1 sqlite)
	cp -al "$template/site" "$site" 2>/dev/null || cp -r "$template/site" "$site"
	# What the site writes is its own, not a link to the cache.
	rm -rf "$site/wp-content" "$site/wp-config.php"
	cp -r "$template/site/wp-content" "$template/site/wp-config.php" "$site/"
	cp tests/demo/shop.php "$site/wp-content/mu-plugins/"
	# The checkout may be in a home directory that the site's user cannot enter.
	cp tests/support/in-wordpress.php tests/demo/view.php "$dir/"
	php tests/support/move-in.php "$site" "$url"
	: >"$dir/demo.ledger"
	give_to_site_user "$site/wp-content" "$site/wp-config.php" "$dir/demo.ledger"
	password=$(php -r 'echo bin2hex(random_bytes(6));')
	in_wordpress "wp_set_password( '$password', 1 );"
}
in_wordpress() { "${as_site_user[@]}" php "$dir/in-wordpress.php" "$site" "$url" <<<"$1"; }

start_php_fpm() {
	local user=
	if [ -n "$site_user" ]; then
		user="user = $site_user\ngroup = $site_user\nlisten.owner = $site_user\nlisten.group = $site_user"
	fi
	sed "s|@DIR@|$dir|; s|@USER@|$user|; s|@LISTEN@|$dir/php-fpm.sock|; s|@WORKERS@|4|; s|@INI@||" \
		tests/support/conf/php-fpm.conf >"$dir/php-fpm.conf"
	start "$(php_fpm_binary)" --nodaemonize --allow-to-run-as-root --fpm-config "$dir/php-fpm.conf" >/dev/null 2>&1
	wait_until php-fpm test -S "$dir/php-fpm.sock"
}

start_nginx() {
	mkdir "$dir/nginx-tmp"
	give_to_site_user "$dir/nginx-tmp"
	sed "s|@DIR@|$dir|; s|@USER@|${site_user:+user $site_user;}|; s|@LISTEN@|127.0.0.1:$port|; s|@ROOT@|$site|; s|@SERVER@||
		s|@READ_TIMEOUT@|60s|; s|@FASTCGI@|unix:$dir/php-fpm.sock|" tests/support/conf/nginx.conf >"$dir/nginx.conf"
	start "$(nginx_binary)" -c "$dir/nginx.conf" -e "$dir/nginx.log"
	wait_until nginx listens_at "$port"
}

# --- The runner -------------------------------------------------------------------------------------------------------

home="$dir/runner"
runner="$dir/wp-cron-runner"
listen=$(free_port 9747)

start_runner() {
	mkdir -p "$home/state"
	chmod 700 "$home/state"
	cp "$target/debug/wp-cron-runner" "$runner"
	cat >"$home/config.toml" <<-TOML
	[runner]
	name = "demo"
	state_dir = "$home/state"
	listen = "127.0.0.1:$listen"

	[[site]]
	name = "shop"
	path = "$site"
	url = "$url"
	trigger = "fastcgi"
	fastcgi = "$dir/php-fpm.sock"
	secret_file = "$home/shop.key"
	TOML
	chmod 640 "$home/config.toml"
	export WP_CRON_RUNNER_CONFIG="$home/config.toml"
	give_to_site_user "$home"
	"$runner" plugin install shop
	give_to_site_user "$home"
	start "${as_site_user[@]}" "$runner" run >"$dir/runner.log" 2>&1
	wait_until 'the runner' listens_at "$listen"
}

make_site
start_php_fpm
start_nginx
start_runner

say "the site   $url/"
say "wp-admin   $url/wp-admin/   user admin, password $password"
say "the runner http://127.0.0.1:$listen/v1/status   its log: $dir/runner.log"
if [ -z "$seconds" ]; then say "Ctrl-C ends everything that was started here"; fi
in_wordpress "$(cat tests/demo/plan.php)"

# --- What happens -----------------------------------------------------------------------------------------------------

status=0
"${as_site_user[@]}" php "$dir/view.php" "$dir/demo.ledger" "$url" "${seconds:-0}" "$runner" || status=$?
if [ "$status" = 1 ]; then
	say "the end of the runner's log:"
	tail -n 20 "$dir/runner.log"
fi
exit "$status"

#!/bin/bash
# Gets the real parts that the demo and the tests run against, and only those that are missing.
#
#   install.sh demo    PHP, php-fpm, nginx, WordPress 7.1.1, WP-CLI, the SQLite drop-in
#   install.sh test    the same, MariaDB, Redis, iproute2, cron, libfaketime, Debian's WordPress 6.1, PHP 7.4 and 8.4 (as WebAssembly, for syntax and pure functions),
#                      a Chromium without a window, Playwright and axe
#
# Debian packages go into the system, everything else into a cache outside git. A second run downloads nothing.
# No service is started, stopped or restarted: the demo and the tests run their own copies on free ports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./cache.sh

wanted="${1:-}"
case "$wanted" in
	demo | test) ;;
	*) echo "install.sh: found \`$wanted\`; expected \`demo\` or \`test\`" >&2; exit 2 ;;
esac

say() { echo "install.sh: $*"; }

# --- Debian packages -------------------------------------------------------------------------------------------------

# A part counts by what it can do, not by the package's name: nginx-light, or a PHP from elsewhere, is as good.
missing_packages() {
	local modules
	modules=$(php -m 2>/dev/null || true)
	have_module() { grep -qix "$1" <<<"$modules"; }

	command -v cc >/dev/null || echo build-essential pkg-config
	command -v php >/dev/null || echo php-cli
	php_fpm_binary >/dev/null || echo php-fpm
	have_module pdo_sqlite || echo php-sqlite3
	have_module curl || echo php-curl
	have_module dom || echo php-xml
	have_module mbstring || echo php-mbstring
	nginx_binary >/dev/null || echo nginx-light
	if ! has_wp_studio || { [ "$wanted" = test ] && ! { has_npm_packages php-wasm && has_npm_packages browser; }; }; then
		command -v npm >/dev/null || echo npm
		[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
	fi
	if [ "$wanted" = test ]; then
		command -v node >/dev/null || echo nodejs
		have_module mysqli || echo php-mysql
		mariadbd_binary >/dev/null || echo mariadb-server
		command -v openssl >/dev/null || echo openssl
		command -v redis-server >/dev/null || echo redis-server
		command -v ip >/dev/null || echo iproute2
		command -v crontab >/dev/null || echo cron
		command -v phpcs >/dev/null || echo php-codesniffer
		have_module redis || echo php-redis
		[ -n "$(faketime_library)" ] || echo libfaketime
		chromium_binary >/dev/null || echo "$(chromium_package)"
		has_fonts || echo fonts-dejavu-core
	fi
}

# Preloaded, it gives a process another time of day.
faketime_library() { ls /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 2>/dev/null | head -1 || true; }

# The small one, without a window, where this Debian has it; chromium_binary takes either.
chromium_package() {
	local name
	for name in chromium-headless-shell chromium; do
		apt_lists_lack "$name" || break
	done
	echo "$name"
}

# Without one Chromium draws boxes.
has_fonts() { [ -n "$(find /usr/share/fonts /usr/local/share/fonts -name '*.[ot]tf' -print -quit 2>/dev/null)" ]; }

# Packages that start a service ask policy-rc.d first. The answer "no" also keeps a php-fpm or a database that already
# runs on this machine from being restarted on our account.
policy=/usr/sbin/policy-rc.d
forbid_service_starts() {
	[ -e "$policy" ] && policy_kept=$(mktemp "$policy.XXXXXX") && mv "$policy" "$policy_kept"
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap allow_service_starts EXIT
}
policy_kept=
allow_service_starts() {
	rm -f "$policy"
	if [ -n "$policy_kept" ]; then mv "$policy_kept" "$policy"; fi
	policy_kept=
	trap - EXIT
}

apt_lists_lack() {
	local package policy
	for package in "$@"; do
		# Not in a pipe: grep -q stops reading, which pipefail would take for a failure.
		policy=$(apt-cache policy "$package" 2>/dev/null)
		grep -q 'Candidate: [^(]' <<<"$policy" || return 0
	done
	return 1
}

apt_quietly() {
	local log="$cache/apt.log"
	mkdir -p "$cache"
	if ! DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null; then
		tail -n 15 "$log" >&2
		return 1
	fi
}

install_packages() {
	local packages=("$@")
	if ! command -v apt-get >/dev/null; then
		say "missing: ${packages[*]} (Debian's names); expected them to be installed, and this system has no apt-get" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		say "missing: ${packages[*]}. Nothing was changed. Type this, then start again:" >&2
		echo "    sudo apt-get update && sudo apt-get install --no-install-recommends ${packages[*]}" >&2
		exit 1
	fi
	say "Debian packages to install: ${packages[*]} (no service is started now)"
	forbid_service_starts
	if apt_lists_lack "${packages[@]}"; then apt_quietly update; fi
	# Old lists name files that are gone from the mirror: then, and only then, they are renewed.
	apt_quietly install --no-install-recommends "${packages[@]}" || {
		say "renewing apt's lists and trying once more"
		apt_quietly update
		apt_quietly install --no-install-recommends "${packages[@]}"
	}
	allow_service_starts
	if [ -d /run/systemd/system ]; then
		say "what was installed starts at the next boot; \`systemctl disable --now NAME\` prevents it"
	fi
}

# --- WordPress, WP-CLI, the SQLite drop-in: three folders of one npm tarball ------------------------------------------

studio=wp-studio@1.22.0
studio_sha512='boMtahkhgWDKKyNTBA1uTK5ghnAmxXhDY6KeQCO9FmcI3/o+YOSq8JwYW5ZYnxHCxH14Jf/mD6CJTBvTWl2Ytw=='

has_wp_studio() { [ -e "$cache/wordpress-7.1.1/.complete" ]; }

fetch_wp_studio() {
	say "downloading WordPress 7.1.1, WP-CLI 2.12 and the SQLite drop-in (npm package $studio, 64 MB) into $cache"
	local work tarball
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	(cd "$work" && npm pack --loglevel=error --ignore-scripts "$studio" >/dev/null)
	tarball=$(echo "$work"/*.tgz)
	check_sha512 "$tarball" "$studio_sha512"
	tar xzf "$tarball" -C "$work" --no-same-owner --strip-components=4 \
		--exclude='*/themes/twentytwentythree' --exclude='*/themes/twentytwentyfour' \
		package/dist/cli/wp-files/latest/wordpress \
		package/dist/cli/wp-files/wp-cli \
		package/dist/cli/wp-files/sqlite-database-integration
	chmod -R u=rwX,go=rX "$work"
	put_in_place "$work/wp-cli" wp-cli
	put_in_place "$work/sqlite-database-integration" sqlite-database-integration
	put_in_place "$work/latest/wordpress" wordpress-7.1.1
	rm -rf "$work"
}

check_sha512() {
	local found expected
	found=$(sha512sum "$1" | cut -d' ' -f1)
	expected=$(base64 -d <<<"$2" | od -An -v -tx1 | tr -d ' \n')
	if [ "$found" != "$expected" ]; then
		say "$(basename "$1") is not what was expected: SHA-512 $found, expected $expected. Nothing was unpacked." >&2
		exit 1
	fi
}

put_in_place() {
	touch "$1/.complete"
	rm -rf "${cache:?}/$2"
	mv "$1" "$cache/$2"
}

# --- The oldest WordPress the plugin claims: Debian's own ------------------------------------------------------------

# Only unpacked: installing the package would bring a web server. Debian moved some of its files into packages of their
# own and left links; those packages are unpacked beside it and the links followed.
has_debian_wordpress() { [ -e "$cache/wordpress-6.1/.complete" ]; }

fetch_debian_wordpress() {
	local packages=(wordpress wordpress-theme-twentytwentythree php-getid3 libjs-cropper libjs-underscore)
	local work version deb
	say "downloading Debian's WordPress 6.1 (${packages[*]}, 10 MB; unpacked, not installed) into $cache"
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	if apt_lists_lack "${packages[@]}"; then renew_apt_lists; fi
	download_debs "$work" "${packages[@]}" || { renew_apt_lists; download_debs "$work" "${packages[@]}"; }
	for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
	version=$(dpkg-deb -f "$work"/wordpress_*.deb Version)
	case "$version" in
		6.1.*) ;;
		*) say "this machine's Debian has WordPress $version, not 6.1: the tests of the oldest version use that one" ;;
	esac
	# Links to files of the running system (a certificate bundle, Apache's settings) have no place in the tree.
	local tree="$work/root/usr/share/wordpress"
	rm -f "$tree/.htaccess" "$tree/wp-config.php" "$tree/wp-includes/certificates/ca-bundle.crt"
	cp /etc/ssl/certs/ca-certificates.crt "$tree/wp-includes/certificates/ca-bundle.crt"
	local dangling
	dangling=$(find -L "$tree" -type l)
	if [ -n "$dangling" ]; then
		say "links without a target in Debian's WordPress:"$'\n'"$dangling" >&2
		exit 1
	fi
	cp -rL "$tree" "$work/wordpress"
	chmod -R u=rwX,go=rX "$work/wordpress"
	put_in_place "$work/wordpress" wordpress-6.1
	rm -rf "$work"
}

download_debs() {
	local directory=$1
	shift
	# apt's own download user can't write into root's folder; it says so and carries on.
	(cd "$directory" && rm -f ./*.deb && apt-get -q download "$@" >"$cache/apt.log" 2>&1)
}

renew_apt_lists() {
	if [ "$(id -u)" != 0 ]; then
		say "apt's lists are missing or old. Nothing was changed. Type this, then start again:" >&2
		echo "    sudo apt-get update" >&2
		exit 1
	fi
	apt_quietly update
}

# --- Prometheus ------------------------------------------------------------------------------------------------------

# Only unpacked: installing the package would start a service.
has_prometheus() { [ -e "$cache/prometheus/.complete" ]; }

fetch_prometheus() {
	local work
	say "downloading Debian's Prometheus (19 MB; unpacked, not installed) into $cache"
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	if apt_lists_lack prometheus; then renew_apt_lists; fi
	download_debs "$work" prometheus || { renew_apt_lists; download_debs "$work" prometheus; }
	dpkg-deb -x "$work"/prometheus_*.deb "$work/root"
	chmod -R u=rwX,go=rX "$work"
	put_in_place "$work/root/usr/bin" prometheus
	rm -rf "$work"
}

# --- Other PHP versions, and what steers the browser: npm packages ----------------------------------------------------

# The lock file beside a package.json holds the integrity of every package.
npm_files() {
	case "$1" in
		php-wasm) echo php-wasm/{.npmrc,package.json,package-lock.json,php.mjs} ;;
		browser) echo ../browser/{.npmrc,package.json,package-lock.json} ;;
	esac
}
npm_key() { cat $(npm_files "$1") | sha256sum | cut -c1-16; }
has_npm_packages() { [ "$(cat "$cache/$1/.complete" 2>/dev/null)" = "$(npm_key "$1")" ]; }

fetch_npm_packages() {
	say "downloading $2 into $cache"
	rm -rf "${cache:?}/$1"
	mkdir -p "$cache/$1"
	cp $(npm_files "$1") "$cache/$1/"
	(cd "$cache/$1" && npm ci --loglevel=error --ignore-scripts >/dev/null)
	npm_key "$1" >"$cache/$1/.complete"
}

# --- In order --------------------------------------------------------------------------------------------------------

mapfile -t packages < <(missing_packages | tr ' ' '\n')
if [ "${#packages[@]}" -gt 0 ]; then install_packages "${packages[@]}"; fi

mkdir -p "$cache"
# Two installs at once (a demo beside a test run) wait for each other instead of unpacking over each other.
exec 9>"$cache/.install.lock"
flock 9
has_wp_studio || fetch_wp_studio
if [ "$wanted" = test ]; then
	has_debian_wordpress || fetch_debian_wordpress
	has_npm_packages php-wasm || fetch_npm_packages php-wasm "PHP 7.4 and 8.4 as WebAssembly (npm packages, 100 MB)"
	has_npm_packages browser || fetch_npm_packages browser "Playwright and axe (npm packages, 10 MB)"
	has_prometheus || fetch_prometheus
fi

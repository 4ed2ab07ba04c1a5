# Where the downloaded parts are and what the installed ones are called. Read by install.sh, template.sh and the demo.

cache="${WP_CRON_RUNNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wp-cron-runner}"

# Debian keeps servers in /usr/sbin, which an ordinary user's PATH lacks, and puts the version into php-fpm's name.
php_fpm_binary() {
	local version
	version=$(php -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;' 2>/dev/null) || return 1
	first_program "php-fpm$version" php-fpm
}
nginx_binary() { first_program nginx; }
mariadbd_binary() { first_program mariadbd; }
chromium_binary() { first_program chromium-headless-shell chromium; }

first_program() {
	local name
	for name in "$@"; do
		PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$name" && return
	done
	return 1
}

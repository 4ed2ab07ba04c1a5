<?php
/**
 * Runs PHP from standard input inside a loaded WordPress:   php in-wordpress.php SITE URL < CODE
 *
 * Like `wp eval-file -`, in half the time. Page-load cron is left out, as WP-CLI leaves it out: looking at a site must
 * not start its events.
 */

list( , $fx_site, $fx_url ) = $argv;

$_SERVER['HTTP_HOST']       = preg_replace( '~^https?://~', '', $fx_url );
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
$_SERVER['REQUEST_METHOD']  = 'GET';
$_SERVER['REQUEST_URI']     = '/';
if ( 0 === strpos( $fx_url, 'https:' ) ) {
	$_SERVER['HTTPS'] = 'on';
}
ini_set( 'display_errors', 'stderr' );

$GLOBALS['wp_filter']['muplugins_loaded'][0]['in-wordpress'] = array(
	'function'      => static function () {
		remove_action( 'init', 'wp_cron' );
	},
	'accepted_args' => 0,
);

require "$fx_site/wp-load.php";
eval( stream_get_contents( STDIN ) );

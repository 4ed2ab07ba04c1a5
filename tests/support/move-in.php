<?php
/**
 * Gives a site that was copied from a template its own address and database.
 *
 *   php move-in.php SITE URL [SOCKET DATABASE]
 *
 * Core's own events are moved at least an hour ahead: a template may be weeks old, and what is due on the fresh site
 * should be what the test schedules.
 */

list( , $site, $url ) = $argv;
$socket   = $argv[3] ?? null;
$database = $argv[4] ?? null;

if ( null !== $socket ) {
	$config = file_get_contents( "$site/wp-config.php" );
	$config = preg_replace( "/(define\( 'DB_HOST', ).*/", "$1'localhost:$socket' );", $config );
	$config = preg_replace( "/(define\( 'DB_NAME', ).*/", "$1'$database' );", $config );
	file_put_contents( "$site/wp-config.php", $config );
	$connection = new PDO( "mysql:unix_socket=$socket;dbname=$database;charset=utf8mb4", 'root', '' );
} else {
	$connection = new PDO( "sqlite:$site/wp-content/database/.ht.sqlite" );
}
$connection->setAttribute( PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION );

function set_option( PDO $connection, $name, $value ) {
	$connection->prepare( 'UPDATE wp_options SET option_value = ? WHERE option_name = ?' )->execute( array( $value, $name ) );
}

set_option( $connection, 'home', $url );
set_option( $connection, 'siteurl', $url );

$row     = $connection->query( "SELECT option_value FROM wp_options WHERE option_name = 'cron'" )->fetchColumn();
$old     = unserialize( $row, array( 'allowed_classes' => false ) );
$version = $old['version'];
unset( $old['version'] );

$new   = array();
$first = time() + 3600;
foreach ( $old as $timestamp => $hooks ) {
	foreach ( $hooks as $hook => $events ) {
		$new[ max( $timestamp, $first++ ) ][ $hook ] = $events;
	}
}
ksort( $new );
set_option( $connection, 'cron', serialize( $new + array( 'version' => $version ) ) );

<?php
/**
 * A persistent object cache on php-redis, as small as it can be: every request shares what others have stored.
 */

final class WP_Object_Cache {
	public $redis;
	public $known = array();

	public function __construct() {
		$this->redis = new Redis();
		$this->redis->connect( '@SOCKET@' );
	}

	public function name( $key, $group ) {
		return get_current_blog_id() . ':' . ( $group ? $group : 'default' ) . ':' . $key;
	}

	public function get( $name, $force, &$found ) {
		if ( $force || ! array_key_exists( $name, $this->known ) ) {
			$text                 = $this->redis->get( $name );
			$this->known[ $name ] = false === $text ? null : array( unserialize( $text ) );
		}
		$found = null !== $this->known[ $name ];
		$value = $found ? $this->known[ $name ][0] : false;
		return is_object( $value ) ? clone $value : $value;
	}

	public function set( $name, $value, $seconds, $how = array() ) {
		$how = $seconds > 0 ? array_merge( $how, array( 'ex' => $seconds ) ) : $how;
		if ( ! $this->redis->set( $name, serialize( $value ), $how ) ) {
			return false;
		}
		$this->known[ $name ] = array( is_object( $value ) ? clone $value : $value );
		return true;
	}

	public function delete( $name ) {
		unset( $this->known[ $name ] );
		return 1 === $this->redis->del( $name );
	}
}

function wp_cache_init() {
	$GLOBALS['wp_object_cache'] = new WP_Object_Cache();
}
function wp_cache_name( $key, $group ) {
	return $GLOBALS['wp_object_cache']->name( $key, $group );
}
function wp_cache_get( $key, $group = '', $force = false, &$found = null ) {
	return $GLOBALS['wp_object_cache']->get( wp_cache_name( $key, $group ), $force, $found );
}
function wp_cache_get_multiple( $keys, $group = '', $force = false ) {
	$values = array();
	foreach ( $keys as $key ) {
		$values[ $key ] = wp_cache_get( $key, $group, $force );
	}
	return $values;
}
function wp_cache_set( $key, $value, $group = '', $expire = 0 ) {
	return $GLOBALS['wp_object_cache']->set( wp_cache_name( $key, $group ), $value, (int) $expire );
}
function wp_cache_add( $key, $value, $group = '', $expire = 0 ) {
	return ! wp_suspend_cache_addition() && $GLOBALS['wp_object_cache']->set( wp_cache_name( $key, $group ), $value, (int) $expire, array( 'nx' ) );
}
function wp_cache_replace( $key, $value, $group = '', $expire = 0 ) {
	return $GLOBALS['wp_object_cache']->set( wp_cache_name( $key, $group ), $value, (int) $expire, array( 'xx' ) );
}
function wp_cache_delete( $key, $group = '' ) {
	return $GLOBALS['wp_object_cache']->delete( wp_cache_name( $key, $group ) );
}
function wp_cache_incr( $key, $offset = 1, $group = '' ) {
	$value = max( 0, (int) wp_cache_get( $key, $group ) + $offset );
	return wp_cache_set( $key, $value, $group ) ? $value : false;
}
function wp_cache_decr( $key, $offset = 1, $group = '' ) {
	return wp_cache_incr( $key, -$offset, $group );
}
function wp_cache_flush() {
	$GLOBALS['wp_object_cache']->known = array();
	return $GLOBALS['wp_object_cache']->redis->flushDb();
}
function wp_cache_close() {
	return true;
}
function wp_cache_add_global_groups( $groups ) {}
function wp_cache_add_non_persistent_groups( $groups ) {}
function wp_cache_switch_to_blog( $blog ) {}

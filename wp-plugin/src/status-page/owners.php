<?php
/**
 * Whose hook is it? Its callbacks tell: each is code in a file, and the file belongs to a plugin, a theme, or WordPress.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * Who listens to a hook, as HTML; with the callbacks themselves where that is asked for.
 */
function owner_names( string $hook, bool $callbacks = false ): string {
	$found = array();
	foreach ( callbacks_of( $hook ) as list( $name, $file ) ) {
		$owner           = owner_of_file( $file );
		$found[ $owner ] = ( $found[ $owner ] ?? '' ) . ( $callbacks ? '<br>' . shown( $name . ( '' === $file ? '' : " ($file)" ), 500 ) : '' );
	}
	if ( ! $found ) {
		return esc_html__( 'no callback', 'wp-cron-runner' ) . ( $callbacks ? '<br>' . esc_html__( 'Nothing listens to it in wp-admin; its plugin may be switched off, or listen only while events run.', 'wp-cron-runner' ) : '' );
	}
	$html = array();
	foreach ( $found as $owner => $more ) {
		$html[] = html( visible( (string) $owner ) ) . $more;
	}
	return implode( $callbacks ? '<br>' : ', ', $html );
}

/**
 * The name of the plugin, must-use plugin or theme that a file belongs to.
 *
 * @param string $file Below wp-content without that folder's name, else absolute.
 */
function owner_of_file( string $file ): string {
	if ( '' === $file ) {
		return __( 'PHP itself', 'wp-cron-runner' );
	}
	$content = wp_normalize_path( WP_CONTENT_DIR ) . '/';
	$full    = '/' === $file[0] || ':' === ( $file[1] ?? '' ) ? $file : $content . $file;
	// Also where the plugin is a link to somewhere else.
	$below = plugin_basename( $full );
	$slug  = strtok( $below, '/' );
	if ( 0 === strpos( $full, wp_normalize_path( WPMU_PLUGIN_DIR ) . '/' ) ) {
		/* translators: %s: name of a must-use plugin. */
		return sprintf( __( '%s (must-use)', 'wp-cron-runner' ), get_mu_plugins()[ basename( $slug, '.php' ) . '.php' ]['Name'] ?? $slug );
	}
	if ( ltrim( $full, '/' ) !== $below ) {
		foreach ( get_plugins() as $plugin => $about ) {
			if ( $plugin === $below || 0 === strpos( $plugin, "$slug/" ) ) {
				return (string) $about['Name'];
			}
		}
		return (string) $slug;
	}
	$themes = wp_normalize_path( get_theme_root() ) . '/';
	if ( 0 === strpos( $full, $themes ) ) {
		$theme = wp_get_theme( strtok( substr( $full, strlen( $themes ) ), '/' ) );
		/* translators: %s: name of a theme. */
		return sprintf( __( '%s (theme)', 'wp-cron-runner' ), $theme->get( 'Name' ) );
	}
	$core = wp_normalize_path( ABSPATH );
	return 0 === strpos( $full, $core . 'wp-includes/' ) || 0 === strpos( $full, $core . 'wp-admin/' ) ? 'WordPress' : basename( $full );
}

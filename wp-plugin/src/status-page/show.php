<?php
/**
 * How the panel shows names, times, outcomes and buttons. Every name that comes from elsewhere goes through shown().
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Bytes of a sentence or of arguments that are shown. */
const SHOWN_BYTES = 5000;

/**
 * A name as HTML: code, and so left to right in every language.
 */
function shown( string $bytes, int $most = 256 ): string {
	return '<code dir="ltr">' . html( visible( $bytes, $most ) ) . '</code>';
}

/**
 * What was printed, line by line.
 */
function visible_lines( string $text ): string {
	$lines = '';
	foreach ( preg_split( '/(\r?\n|\t)/', $text, -1, PREG_SPLIT_DELIM_CAPTURE ) as $i => $part ) {
		$lines .= $i % 2 ? ltrim( $part, "\r" ) : visible( $part, PHP_INT_MAX );
	}
	return $lines;
}

/**
 * As HTML, exactly: what looks like an entity is text as well, which esc_html() would leave alone.
 */
function html( string $text ): string {
	return htmlspecialchars( $text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8' );
}

/**
 * Unix milliseconds of a time as the runner writes it.
 */
function ms_of( ?string $time ): ?int {
	$parsed = null === $time ? false : date_create_immutable( $time );
	return $parsed ? (int) $parsed->format( 'U' ) * 1000 + (int) $parsed->format( 'v' ) : null;
}

/**
 * A time in the site's zone and form. With seconds: they matter here, and most forms leave them out.
 */
function clock_text( int $ms, bool $date = true ): string {
	$time = (string) preg_replace( '/(?<!\\\\)i(?![^ ]*s)/', 'i:s', (string) get_option( 'time_format' ) );
	return (string) wp_date( $date ? get_option( 'date_format' ) . ' ' . $time : $time, intdiv( $ms, 1000 ) );
}

/**
 * The same as HTML, with how far away it is.
 */
function shown_time( ?float $ms, bool $distance = true ): string {
	if ( null === $ms ) {
		return '—';
	}
	$ms   = within_centuries( $ms );
	$html = '<time datetime="' . esc_attr( (string) rfc3339( $ms ) ) . '">' . html( clock_text( $ms ) ) . '</time>';
	return $distance ? $html . ' <span class="wpcr-more wpcr-far">' . html( distance( $ms ) ) . '</span>' : $html;
}

/**
 * How far away a time is, in words.
 */
function distance( int $ms ): string {
	$now   = now_ms();
	$words = human_time_diff( intdiv( $now, 1000 ), intdiv( $ms, 1000 ) );
	/* translators: %s: a length of time, such as "5 minutes". */
	return sprintf( $ms > $now ? __( 'in %s', 'wp-cron-runner' ) : __( '%s ago', 'wp-cron-runner' ), $words );
}

/**
 * A length of time, which no line breaks.
 */
function duration( ?float $ms ): string {
	return null === $ms ? '—' : str_replace( ' ', "\u{a0}", duration_words( within_centuries( $ms ) ) );
}

/**
 * The same, where it is one.
 */
function duration_words( int $ms ): string {
	if ( $ms < 0 ) {
		/* translators: %s: a length of time. */
		return sprintf( __( '%s early', 'wp-cron-runner' ), duration_words( -$ms ) );
	}
	if ( $ms < 1000 ) {
		/* translators: %s: milliseconds. */
		return sprintf( __( '%s ms', 'wp-cron-runner' ), number_format_i18n( $ms ) );
	}
	if ( $ms < 60000 ) {
		/* translators: %s: seconds. */
		return sprintf( __( '%s s', 'wp-cron-runner' ), number_format_i18n( $ms / 1000, $ms % 1000 ? 1 : 0 ) );
	}
	if ( $ms < 3600000 ) {
		/* translators: 1: minutes, 2: seconds. */
		return sprintf( __( '%1$s min %2$s s', 'wp-cron-runner' ), number_format_i18n( intdiv( $ms, 60000 ) ), number_format_i18n( intdiv( $ms % 60000, 1000 ) ) );
	}
	/* translators: 1: hours, 2: minutes. */
	return sprintf( __( '%1$s h %2$s min', 'wp-cron-runner' ), number_format_i18n( intdiv( $ms, 3600000 ) ), number_format_i18n( intdiv( $ms % 3600000, 60000 ) ) );
}

/**
 * The outcomes and what became of them, in words.
 */
function outcome_words(): array {
	return array(
		'ok'          => __( 'ok', 'wp-cron-runner' ),
		'failed'      => __( 'failed', 'wp-cron-runner' ),
		'timed_out'   => __( 'timed out', 'wp-cron-runner' ),
		'interrupted' => __( 'interrupted', 'wp-cron-runner' ),
		'skipped'     => __( 'skipped', 'wp-cron-runner' ),
		'claimed'     => __( 'about to start', 'wp-cron-runner' ),
		'given_back'  => __( 'given back, not started', 'wp-cron-runner' ),
		'running'     => __( 'running', 'wp-cron-runner' ),
		'held'        => __( 'held', 'wp-cron-runner' ),
		'requeued'    => __( 'put back', 'wp-cron-runner' ),
		'dropped'     => __( 'dropped', 'wp-cron-runner' ),
	);
}

/**
 * An outcome as HTML: a sign and a word, never a colour alone.
 */
function shown_outcome( array $run ): string {
	$words   = outcome_words();
	$outcome = (string) ( $run['outcome'] ?? '' );
	$looks   = array(
		'ok'         => array( '✓', 'wpcr-good' ),
		'skipped'    => array( '–', 'wpcr-more' ),
		'given_back' => array( '–', 'wpcr-more' ),
		'claimed'    => array( '…', 'wpcr-note' ),
		'running'    => array( '…', 'wpcr-note' ),
	);

	list( $sign, $class ) = $looks[ $outcome ] ?? array( '✕', 'wpcr-bad' );

	$then    = (string) ( $run['then'] ?? 'none' );
	$html    = '<span class="' . $class . '"><span aria-hidden="true">' . $sign . '</span> ' . html( $words[ $outcome ] ?? $outcome ) . '</span>';
	return isset( $words[ $then ] ) ? $html . ', ' . html( $words[ $then ] ) : $html;
}

/**
 * Where the runner answers and its history does not: whose word this part of the page is.
 */
function show_source( array $report ): void {
	if ( is_runner_here() && 'runner' !== $report['from'] ) {
		/* translators: %s: why, a sentence. */
		echo notice( 'warning', html( sprintf( __( 'The runner does not tell of its runs: %s What follows is read from the site’s own journal.', 'wp-cron-runner' ), visible( (string) $report['why'], SHOWN_BYTES ) ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	}
}

/**
 * A notice. The text is HTML already.
 */
function notice( string $kind, string $html ): string {
	return '<div class="notice notice-' . $kind . ' inline"><p>' . $html . '</p></div>';
}

/**
 * A button that does something: a form of its own, whose nonce is good for this action on this object alone.
 *
 * @param array  $of    What it is done to, by name; any bytes.
 * @param string $about Said after the label to those who hear the page, where many buttons are called the same.
 * @param array  $more  class, disabled, inside (more fields, HTML).
 */
function button( string $action, array $of, string $label, string $about = '', array $more = array() ): string {
	$of   = http_build_query( $of, '', '&' );
	$html = '<form method="post" class="wpcr-form" action="' . esc_url( admin_url( 'admin-post.php' ) ) . '">';
	foreach ( array( 'action' => PANEL_FORM, 'do' => $action, 'of' => $of, '_wpnonce' => wp_create_nonce( nonce_of( $action, $of ) ) ) as $name => $value ) {
		$html .= '<input type="hidden" name="' . $name . '" value="' . esc_attr( $value ) . '">';
	}
	$hidden = '' === $about ? '' : '<span class="screen-reader-text"> ' . html( $about ) . '</span>';
	return $html . ( $more['inside'] ?? '' ) . '<button type="submit" class="' . esc_attr( $more['class'] ?? 'button button-small' ) . '"' . ( empty( $more['disabled'] ) ? '' : ' disabled' ) . '>' . html( $label ) . $hidden . '</button></form>';
}

/**
 * What a nonce is good for.
 */
function nonce_of( string $action, string $of ): string {
	return "wp-cron-runner $action $of";
}

/**
 * A link to a screen. The text is HTML already.
 */
function screen_link( array $query, string $html ): string {
	return '<a href="' . esc_url( panel_url( $query ) ) . '">' . $html . '</a>';
}

/** What ends a table that table_head() began. */
const TABLE_END = '</tbody></table></div>';

/**
 * The head of a table: its caption, for those who hear it, and its columns. Where the window is too narrow it scrolls sideways.
 *
 * @param bool $reached By the keyboard: a table without links has to be told that it can be scrolled.
 */
function table_head( string $caption, array $columns, bool $reached = false ): string {
	$html = '<div class="wpcr-wide"' . ( $reached ? ' tabindex="0" role="region" aria-label="' . esc_attr( $caption ) . '"' : '' ) . '><table class="widefat striped"><caption class="screen-reader-text">' . html( $caption ) . '</caption><thead><tr>';
	foreach ( $columns as $column ) {
		$html .= '<th scope="col">' . html( $column ) . '</th>';
	}
	return $html . '</tr></thead><tbody>';
}

/**
 * What core's own style lacks, for this page alone. Sides by their logical names: the page may run from right to left.
 */
function show_style(): void {
	echo '<style>
.wpcr h2{margin-block:1.6em .6em}
.wpcr td,.wpcr th{vertical-align:top}
.wpcr td code,.wpcr td .wpcr-error{overflow-wrap:anywhere}
.wpcr td:first-child{min-width:14em}
.wpcr code{background:none;padding:0}
.wpcr td code{font-size:12px}
.wpcr td time,.wpcr-wide th[scope=row]{white-space:nowrap}
.wpcr pre{background:#fff;border:1px solid #8c8f94;padding:.8em;max-height:30em;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere;text-align:start}
.wpcr-more{color:#50575e}
.wpcr-far::before{content:"("}
.wpcr-far::after{content:")"}
.wpcr-wide .wpcr-far{display:block}
.wpcr-wide .wpcr-far::before,.wpcr-wide .wpcr-far::after{content:none}
.wpcr-good{color:#00650f}
.wpcr-bad{color:#b32d2e;font-weight:600}
.wpcr-note{font-weight:600}
.wpcr-form{display:inline-block;margin-inline-end:4px}
.wpcr-do{white-space:nowrap}
.wpcr-facts th{width:12em;font-weight:600}
.wpcr-filter{display:flex;flex-wrap:wrap;gap:.5em 1em;align-items:end;margin-block:1em}
.wpcr-filter label{display:block}
.wpcr-charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:1em}
.wpcr-chart{background:#fff;border:1px solid #c3c4c7;padding:.8em;margin:0}
.wpcr-chart>svg{display:block;width:100%;height:auto;direction:ltr}
.wpcr-chart text{font-size:11px;fill:#50575e}
.wpcr-chart figcaption{display:flex;flex-wrap:wrap;gap:.2em 1.2em;font-size:12px}
.wpcr summary{cursor:pointer;margin-block:.8em}
.wpcr td summary{margin:0}
.wpcr-wide{overflow-x:auto;position:relative}
.wpcr-wide td{min-width:5em}
</style>';
}

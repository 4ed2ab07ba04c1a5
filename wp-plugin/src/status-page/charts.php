<?php
/**
 * Two small charts, drawn as SVG: how late events began, and how long they took.
 *
 * The scale is logarithmic, for 20 ms and 10 minutes both matter. Time runs from left to right in every language: clock times and
 * numbers are written so in Hebrew and Arabic as well, and the picture stays the same for two people who talk about it. Whoever
 * cannot see it has the numbers in its description, and all of them in a table.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** The picture, in its own units; the axes stand at LEFT and at TOP + TALL. */
const CHART_LEFT = 52;
const CHART_TOP  = 26;
const CHART_WIDE = 420;
const CHART_TALL = 110;

/**
 * Both charts and their table.
 */
function show_charts( array $summary ): void {
	echo '<h2>', esc_html__( 'The last 24 hours', 'wp-cron-runner' ), '</h2>';
	if ( ! (int) $summary['total']['runs'] ) {
		echo '<p>', esc_html__( 'No run has ended in the last 24 hours.', 'wp-cron-runner' ), '</p>';
		return;
	}
	echo '<div class="wpcr-charts">';
	show_chart( 'lateness_ms', __( 'Lateness: from its time to its start', 'wp-cron-runner' ), $summary );
	show_chart( 'ms', __( 'Duration: from its start to its end', 'wp-cron-runner' ), $summary );
	echo '</div>';
	show_chart_table( $summary );
}

/**
 * One chart.
 *
 * @param string $of What is drawn: `lateness_ms` or `ms`.
 */
function show_chart( string $of, string $title, array $summary ): void {
	$ticks = ticks_for( (array) ( $summary['total'][ $of ] ?? array() ), (array) $summary['buckets'], $of );
	$low   = log10( $ticks[0] );
	$high  = log10( end( $ticks ) );
	$y     = static function ( $ms ) use ( $low, $high ): float {
		$part = ( log10( max( 1, (int) $ms ) ) - $low ) / ( $high - $low );
		return round( CHART_TOP + CHART_TALL * ( 1 - max( 0, min( 1, $part ) ) ), 1 );
	};
	$x     = static function ( $ms ) use ( $summary ): float {
		$part = ( $ms - $summary['since_ms'] ) / max( 1, $summary['until_ms'] - $summary['since_ms'] );
		return round( CHART_LEFT + CHART_WIDE * max( 0, min( 1, $part ) ), 1 );
	};
	$id    = "wpcr-chart-$of";
	echo '<figure class="wpcr-chart"><svg viewBox="0 0 480 162" role="img" aria-labelledby="', esc_attr( "$id-title $id-desc" ), '">';
	echo '<title id="', esc_attr( "$id-title" ), '">', html( $title ), '</title><desc id="', esc_attr( "$id-desc" ), '">', html( chart_words( $of, $summary ) ), '</desc>';
	echo '<text x="2" y="12" aria-hidden="true">', html( $title ), '</text>';
	draw_axes( $summary, $ticks, $x, $y );
	draw_marks( $summary, $x );
	draw_figures( $of, $summary, $x, $y );
	echo '</svg><figcaption class="wpcr-more">', chart_legend(), '</figcaption></figure>'; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * The lines of the scale: from the last one below the smallest number to the first one above the largest.
 */
function ticks_for( array $total, array $buckets, string $of ): array {
	$all  = array( 1, 10, 100, 1000, 10000, 60000, 600000, 3600000, 36000000, 360000000 );
	$min  = max( 1, (int) min( array_merge( array( (int) ( $total['max'] ?? 1 ) ), array_column( array_filter( array_column( $buckets, $of ) ), 'p50' ) ) ) );
	$max  = max( 10, (int) ( $total['max'] ?? 10 ) );
	$from = 0;
	while ( $from < 8 && $all[ $from + 1 ] <= $min ) {
		++$from;
	}
	$to = $from + 1;
	while ( $to < 9 && $all[ $to ] < $max ) {
		++$to;
	}
	return array_slice( $all, $from, $to - $from + 1 );
}

/**
 * The scale at the side, and the hours below.
 */
function draw_axes( array $summary, array $ticks, callable $x, callable $y ): void {
	foreach ( $ticks as $tick ) {
		$words = $tick < 60000 ? duration( $tick ) : tick_words( $tick );
		echo '<line x1="', esc_attr( CHART_LEFT ), '" x2="', esc_attr( CHART_LEFT + CHART_WIDE ), '" y1="', esc_attr( $y( $tick ) ), '" y2="', esc_attr( $y( $tick ) ), '" stroke="#dcdcde"/>';
		echo '<text text-anchor="end" x="', esc_attr( CHART_LEFT - 5 ), '" y="', esc_attr( $y( $tick ) + 4 ), '">', html( $words ), '</text>';
	}
	for ( $i = 0; $i <= 4; $i++ ) {
		$at     = $summary['since_ms'] + intdiv( ( $summary['until_ms'] - $summary['since_ms'] ) * $i, 4 );
		$anchor = array( 'start', 'middle', 'middle', 'middle', 'end' )[ $i ];
		echo '<text text-anchor="', esc_attr( $anchor ), '" x="', esc_attr( $x( $at ) ), '" y="', esc_attr( CHART_TOP + CHART_TALL + 18 ), '">', html( (string) wp_date( get_option( 'time_format' ), intdiv( $at, 1000 ) ) ), '</text>';
	}
}

/**
 * A length of time that is a round number.
 */
function tick_words( int $ms ): string {
	/* translators: %s: a number of minutes, or of hours. */
	return $ms < 3600000 ? sprintf( __( '%s min', 'wp-cron-runner' ), number_format_i18n( $ms / 60000 ) ) : sprintf( __( '%s h', 'wp-cron-runner' ), number_format_i18n( $ms / 3600000 ) );
}

/**
 * Deployments.
 */
function draw_marks( array $summary, callable $x ): void {
	foreach ( (array) $summary['marks'] as $mark ) {
		$at = $x( $mark['at_ms'] );
		echo '<g><title>', html( mark_words( $mark ) ), '</title><line x1="', esc_attr( $at ), '" x2="', esc_attr( $at ), '" y1="', esc_attr( CHART_TOP ), '" y2="', esc_attr( CHART_TOP + CHART_TALL ), '" stroke="#1d2327" stroke-width="1.5" stroke-dasharray="5 3"/></g>';
	}
}

/**
 * A deployment in words.
 */
function mark_words( array $mark ): string {
	/* translators: 1: time, 2: what was deployed. */
	return sprintf( __( 'deployed %1$s: %2$s', 'wp-cron-runner' ), clock_text( (int) $mark['at_ms'] ), visible( (string) $mark['note'] ) );
}

/**
 * The line of the medians, a stroke for the 95th percentile, a ring for the most, a cross where runs did not end well.
 */
function draw_figures( string $of, array $summary, callable $x, callable $y ): void {
	$line = array();
	$last = -99;
	$tops = '';
	foreach ( array_values( (array) $summary['buckets'] ) as $i => $bucket ) {
		$at  = $x( $bucket['at_ms'] + $summary['width_ms'] / 2 );
		$has = $bucket[ $of ] ?? null;
		if ( $has ) {
			// Over two hours without a run no line is drawn: nothing is known of them.
			$line[] = ( $i - $last > 4 ? 'M' : 'L' ) . $at . ' ' . $y( $has['p50'] );
			$last   = $i;
			$tops  .= '<g><title>' . html( bucket_words( $of, $bucket ) ) . '</title><circle cx="' . $at . '" cy="' . $y( $has['p50'] ) . '" r="2" fill="#2271b1"/><path d="M' . ( $at - 3 ) . ' ' . $y( $has['p95'] ) . 'h6" stroke="#8a5a00" stroke-width="2"/><circle cx="' . $at . '" cy="' . $y( $has['max'] ) . '" r="2.5" fill="none" stroke="#50575e"/></g>';
		}
		if ( (int) $bucket['bad'] ) {
			$tops .= '<g><title>' . html( bucket_words( $of, $bucket ) ) . '</title><path d="M' . ( $at - 3 ) . ' ' . ( CHART_TOP + CHART_TALL - 6 ) . 'l6 6m0 -6l-6 6" stroke="#b32d2e" stroke-width="2"/></g>';
		}
	}
	echo '<path d="', esc_attr( implode( '', $line ) ), '" fill="none" stroke="#2271b1" stroke-width="1.5"/>', $tops; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * What the signs mean.
 */
function chart_legend(): string {
	$signs = array(
		'<circle cx="8" cy="6" r="2" fill="#2271b1"/><path d="M0 6h16" stroke="#2271b1" stroke-width="1.5"/>' => __( 'median', 'wp-cron-runner' ),
		'<path d="M5 6h6" stroke="#8a5a00" stroke-width="2"/>' => __( '95 % within', 'wp-cron-runner' ),
		'<circle cx="8" cy="6" r="2.5" fill="none" stroke="#50575e"/>' => __( 'at most', 'wp-cron-runner' ),
		'<path d="M5 3l6 6m0 -6l-6 6" stroke="#b32d2e" stroke-width="2"/>' => __( 'runs that did not end well', 'wp-cron-runner' ),
		'<path d="M8 0v12" stroke="#1d2327" stroke-width="1.5" stroke-dasharray="4 2"/>' => __( 'deployment', 'wp-cron-runner' ),
	);
	$html  = '';
	foreach ( $signs as $sign => $word ) {
		$html .= '<span><svg aria-hidden="true" width="16" height="12">' . $sign . '</svg> ' . html( $word ) . '</span> ';
	}
	return $html;
}

/**
 * The numbers of half an hour, in words.
 */
function bucket_words( string $of, array $bucket ): string {
	/* translators: 1: time, 2: number of runs, 3: number of them that did not end well, 4, 5, 6: lengths of time. */
	return sprintf( __( '%1$s: %2$s runs, %3$s not ok; median %4$s, 95 %% within %5$s, at most %6$s', 'wp-cron-runner' ), clock_text( (int) $bucket['at_ms'] ), number_format_i18n( (int) $bucket['runs'] ), number_format_i18n( (int) $bucket['bad'] ), duration( $bucket[ $of ]['p50'] ?? null ), duration( $bucket[ $of ]['p95'] ?? null ), duration( $bucket[ $of ]['max'] ?? null ) );
}

/**
 * The whole chart in words.
 */
function chart_words( string $of, array $summary ): string {
	$total = $summary['total'];
	/* translators: 1: number of runs, 2: number of them that did not end well, 3, 4, 5: lengths of time. */
	$words = sprintf( __( '%1$s runs, %2$s not ok. Median %3$s, 95 %% within %4$s, at most %5$s.', 'wp-cron-runner' ), number_format_i18n( (int) $total['runs'] ), number_format_i18n( (int) $total['bad'] ), duration( $total[ $of ]['p50'] ?? null ), duration( $total[ $of ]['p95'] ?? null ), duration( $total[ $of ]['max'] ?? null ) );
	foreach ( (array) $summary['marks'] as $mark ) {
		$words .= ' ' . mark_words( $mark ) . '.';
	}
	return $words;
}

/**
 * The same numbers as a table.
 */
function show_chart_table( array $summary ): void {
	$late = __( 'Late', 'wp-cron-runner' );
	$took = __( 'Took', 'wp-cron-runner' );
	$part = array( __( 'median', 'wp-cron-runner' ), __( '95 % within', 'wp-cron-runner' ), __( 'at most', 'wp-cron-runner' ) );
	$head = array( __( 'From', 'wp-cron-runner' ), __( 'Runs', 'wp-cron-runner' ), __( 'Not ok', 'wp-cron-runner' ), "$late, $part[0]", "$late, $part[1]", "$late, $part[2]", "$took, $part[0]", "$took, $part[1]", "$took, $part[2]" );
	echo '<details><summary>', esc_html__( 'The same as a table', 'wp-cron-runner' ), '</summary>', table_head( __( 'Runs by half hours', 'wp-cron-runner' ), $head, true ); // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( (array) $summary['buckets'] as $bucket ) {
		if ( (int) $bucket['runs'] ) {
			echo '<tr><th scope="row">', html( clock_text( (int) $bucket['at_ms'] ) ), '</th><td>', html( number_format_i18n( (int) $bucket['runs'] ) ), '</td><td>', html( number_format_i18n( (int) $bucket['bad'] ) ), '</td>';
			foreach ( array( 'lateness_ms', 'ms' ) as $of ) {
				foreach ( array( 'p50', 'p95', 'max' ) as $name ) {
					echo '<td>', html( duration( $bucket[ $of ][ $name ] ?? null ) ), '</td>';
				}
			}
			echo '</tr>';
		}
	}
	echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( (array) $summary['marks'] as $mark ) {
		echo '<p>', html( mark_words( $mark ) ), '</p>';
	}
	echo '</details>';
}

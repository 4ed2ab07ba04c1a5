<?php
/**
 * `wp cron-runner ...` for people: the same reports and actions as in wp-admin.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

require_once __DIR__ . '/../reports.php';

/**
 * Shows what the cron runner does on this site, and steers it.
 */
final class Commands {
	/**
	 * Shows the runner, and how this site is.
	 *
	 * ## OPTIONS
	 *
	 * [--format=<format>]
	 * : How to show it.
	 * ---
	 * default: table
	 * options:
	 *   - table
	 *   - json
	 *   - csv
	 * ---
	 */
	public function status( array $args, array $flags ): void {
		$status = report_status();
		$this->tell_source( $status );
		$site  = $status['site'];
		$facts = array(
			'state'        => $site['state'],
			'message'      => $site['message'] ?? null,
			'runner'       => $site['runner'] ?? null,
			'version'      => $status['runner']['version'] ?? null,
			'since'        => $status['runner']['since'] ?? null,
			'plugin'       => VERSION,
			'next'         => $site['next'] ?? null,
			'due'          => $site['due'] ?? 0,
			'running'      => implode( ', ', array_column( array_merge( $site['running'], $site['open'] ), 'hook' ) ),
			'held'         => $site['held'] ?? 0,
			'paused'       => ! empty( $site['paused'] ),
			'paused_hooks' => implode( ', ', $site['paused_hooks'] ?? array() ),
			'lock_kind'    => $site['lock_kind'] ?? null,
			'epoch'        => $site['epoch'] ?? null,
			'from'         => $status['from'],
		);
		$rows  = array();
		foreach ( $facts as $field => $value ) {
			$rows[] = array( 'field' => $field, 'value' => is_bool( $value ) ? ( $value ? 'yes' : 'no' ) : $value );
		}
		if ( 'json' === ( $flags['format'] ?? '' ) ) {
			\WP_CLI::line( (string) wp_json_encode( $facts ) );
		} else {
			$this->show( $flags, $rows, array( 'field', 'value' ) );
		}
	}

	/**
	 * Lists scheduled events, soonest first.
	 *
	 * ## OPTIONS
	 *
	 * [--hook=<part>]
	 * : Only hooks with this in their name.
	 *
	 * [--n=<count>]
	 * : So many at most.
	 * ---
	 * default: 50
	 * ---
	 *
	 * [--format=<format>]
	 * : How to show them.
	 * ---
	 * default: table
	 * options:
	 *   - table
	 *   - json
	 *   - csv
	 * ---
	 */
	public function events( array $args, array $flags ): void {
		$report = report_events( array( 'search' => (string) ( $flags['hook'] ?? '' ), 'n' => (int) $flags['n'] ) );
		if ( null !== $report['error'] ) {
			\WP_CLI::error( visible( $report['error'], 1000 ) );
		}
		$rows = array();
		foreach ( $report['events'] as $event ) {
			$rows[] = array(
				'due'      => rfc3339( $event['due_at'] * 1000 ),
				'hook'     => $event['hook'],
				'key'      => $event['key'],
				'schedule' => $event['schedule'],
				'paused'   => $event['paused'] ? 'yes' : 'no',
				'args'     => $event['args'],
			);
		}
		$this->show( $flags, $rows, array( 'due', 'hook', 'schedule', 'paused', 'args', 'key' ) );
	}

	/**
	 * Lists runs that have ended, newest first.
	 *
	 * ## OPTIONS
	 *
	 * [--hook=<hook>]
	 * : Only of this hook.
	 *
	 * [--outcome=<outcome>]
	 * : Only with this outcome; bad: neither ok nor skipped.
	 * ---
	 * options:
	 *   - ok
	 *   - failed
	 *   - timed_out
	 *   - interrupted
	 *   - skipped
	 *   - bad
	 * ---
	 *
	 * [--held]
	 * : Only runs that wait for a decision.
	 *
	 * [--n=<count>]
	 * : So many at most.
	 * ---
	 * default: 50
	 * ---
	 *
	 * [--format=<format>]
	 * : How to show them.
	 * ---
	 * default: table
	 * options:
	 *   - table
	 *   - json
	 *   - csv
	 * ---
	 */
	public function history( array $args, array $flags ): void {
		$filter = array_intersect_key( $flags, array_flip( array( 'hook', 'outcome', 'n' ) ) );
		if ( isset( $flags['held'] ) ) {
			$filter['then'] = 'held';
		}
		$report = report_history( $filter );
		$this->tell_source( $report );
		$this->show_runs( $flags, $report['runs'] );
	}

	/**
	 * Runs a hook's events now, due or not, or whatever is due; waits, and shows the result.
	 *
	 * ## OPTIONS
	 *
	 * [<hook>]
	 * : The events of this hook.
	 *
	 * [--key=<key>]
	 * : Of these only the ones with this key, which is to say with the same arguments.
	 *
	 * [--format=<format>]
	 * : How to show the runs.
	 * ---
	 * default: table
	 * options:
	 *   - table
	 *   - json
	 *   - csv
	 * ---
	 */
	public function run( array $args, array $flags ): void {
		if ( ! $args && isset( $flags['key'] ) ) {
			\WP_CLI::error( __( '--key says which events of a hook; name the hook as well. Nothing was run.', 'wp-cron-runner' ) );
		}
		$only = $args ? array( 'hook' => printable( $args[0] ) ) + array_intersect_key( $flags, array( 'key' => 1 ) ) : array( 'hook' => null );
		// As long as a run may take: who loses patience ends the waiting, not the run.
		$runs = $this->answer( ask_of_site( 'run', $only, DAY_IN_SECONDS ) );
		$this->show_runs( $flags, $runs );
		foreach ( $runs as $run ) {
			if ( ! in_array( $run['outcome'], array( 'ok', 'skipped' ), true ) ) {
				\WP_CLI::halt( 1 );
			}
		}
	}

	/**
	 * Starts nothing more of a hook, or of the whole site; what runs may end.
	 *
	 * ## OPTIONS
	 *
	 * [<hook>]
	 * : This hook alone.
	 *
	 * [--until=<time>]
	 * : Go on by itself then: whatever strtotime() understands, such as "+2 hours" or "18:30".
	 */
	public function pause( array $args, array $flags ): void {
		$until = null;
		if ( isset( $flags['until'] ) ) {
			$at = date_create_immutable( (string) $flags['until'], wp_timezone() );
			if ( ! $at || $at->getTimestamp() <= time() ) {
				/* translators: %s: what was given. */
				\WP_CLI::error( sprintf( __( '--until is no time ahead: "%s". Nothing was changed.', 'wp-cron-runner' ), visible( (string) $flags['until'] ) ) );
			}
			$until = $at->getTimestamp() * 1000;
		}
		$this->answer( $args ? is_hook_known( $args[0] ) : true );
		$this->answer( $args ? pause_hook( $args[0], $until ) : ask_of_site( 'pause', array( 'until_ms' => $until ) ) );
		/* translators: %s: a hook, or the site's name. */
		\WP_CLI::success( sprintf( __( '%s is paused.', 'wp-cron-runner' ), visible( $args[0] ?? site_name() ) ) );
	}

	/**
	 * Ends the pause of a hook, or of the whole site.
	 *
	 * ## OPTIONS
	 *
	 * [<hook>]
	 * : This hook alone.
	 */
	public function resume( array $args ): void {
		$this->answer( $args ? resume_hook( $args[0] ) : ask_of_site( 'resume' ) );
		/* translators: %s: a hook, or the site's name. */
		\WP_CLI::success( sprintf( __( '%s goes on.', 'wp-cron-runner' ), visible( $args[0] ?? site_name() ) ) );
	}

	/**
	 * Puts the event of a failed, timed out or interrupted run back, to run once more.
	 *
	 * ## OPTIONS
	 *
	 * <run>
	 * : Its id, as `history` shows it.
	 */
	public function requeue( array $args ): void {
		$this->answer( decide_run( $args[0], 'requeue' ) );
		\WP_CLI::success( __( 'The event is put back and runs once more.', 'wp-cron-runner' ) );
	}

	/**
	 * Lets a held run go: its event is not put back.
	 *
	 * ## OPTIONS
	 *
	 * <run>
	 * : Its id, as `history --held` shows it.
	 */
	public function drop( array $args ): void {
		$this->answer( decide_run( $args[0], 'drop' ) );
		\WP_CLI::success( __( 'The run is dropped.', 'wp-cron-runner' ) );
	}

	/**
	 * Where it is not the runner's word: whose, and why.
	 */
	private function tell_source( array $report ): void {
		if ( null !== $report['why'] ) {
			\WP_CLI::warning( $report['why'] . ' ' . __( "This is what the site's own journal says.", 'wp-cron-runner' ) );
		}
	}

	/**
	 * The answer, unless it is a refusal: that ends the command.
	 *
	 * @param mixed $answer Or a \WP_Error.
	 * @return mixed
	 */
	private function answer( $answer ) {
		if ( is_wp_error( $answer ) ) {
			\WP_CLI::error( visible( $answer->get_error_message(), 2000 ) );
		}
		return $answer;
	}

	/**
	 * Runs as a table, or all that is known of them.
	 */
	private function show_runs( array $flags, array $runs ): void {
		$rows = array();
		foreach ( $runs as $run ) {
			$rows[] = array(
				'due'     => $run['due'],
				'hook'    => $run['hook'] ?? '',
				'outcome' => $run['outcome'],
				'then'    => $run['then'],
				'late_ms' => $run['lateness_ms'],
				'took_ms' => $run['ms'],
				'run'     => $run['run'],
				'why'     => implode( '; ', array_filter( array( $run['reason'], $run['note'], $run['error']['message'] ?? null ) ) ),
			);
		}
		if ( 'json' === ( $flags['format'] ?? '' ) ) {
			\WP_CLI::line( (string) wp_json_encode( $runs ) );
		} else {
			$this->show( $flags, $rows, array( 'due', 'hook', 'outcome', 'then', 'late_ms', 'took_ms', 'run', 'why' ) );
		}
	}

	/**
	 * Rows in the form that was asked for. A terminal gets nothing that steers it.
	 */
	private function show( array $flags, array $rows, array $fields ): void {
		$format = (string) ( $flags['format'] ?? 'table' );
		if ( 'json' !== $format ) {
			foreach ( $rows as &$row ) {
				$row = array_map(
					static function ( $value ): string {
						return visible( (string) $value );
					},
					$row
				);
			}
		}
		\WP_CLI\Utils\format_items( $format, $rows, $fields );
	}
}

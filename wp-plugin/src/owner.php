<?php
/**
 * The fence: which runner looks after this site, and since which epoch.
 *
 * The epoch comes from the site's own database and only ever grows. It travels with every claim, and one that is older
 * than the site's is refused: a runner that was stopped for an hour and goes on cannot claim anything.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * A call was signed correctly and refused all the same.
 */
final class Refused extends \RuntimeException {
	/**
	 * HTTP status.
	 *
	 * @var int
	 */
	public $status;
	/**
	 * The code that the runner branches on.
	 *
	 * @var string
	 */
	public $error;
	/**
	 * What else it needs to know.
	 *
	 * @var array
	 */
	public $more;

	/**
	 * A refusal.
	 */
	public function __construct( int $status, string $error, array $more = array() ) {
		parent::__construct( $error );
		$this->status = $status;
		$this->error  = $error;
		$this->more   = $more;
	}
}

/**
 * The owner as it is stored: id, name, epoch, expected_ms (when he said he would call again at the latest), left; and the realm
 * where he named one.
 */
function owner( Connection $db, bool $for_update = false ): array {
	$owner = get_state( $db, 'owner', $for_update );
	return array_merge( array( 'id' => '', 'name' => '', 'epoch' => 0, 'expected_ms' => 0, 'left' => true ), (array) $owner );
}

/**
 * Makes the caller the owner, and issues a new epoch.
 *
 * @param string $realm     The runners that share their leases, or ''. Which of them may look after the site is theirs to know,
 *                          so that one who follows another need not wait until he is silent.
 * @param bool   $has_lease Only he who has the lease at this moment.
 * @throws Refused `stale` while somebody else is owner and is not silent.
 */
function take_over( Connection $db, string $id, string $name, int $expect_ms, int $least_epoch, string $realm = '', bool $has_lease = false ): int {
	// A row that is not there cannot be locked, and two first take-overs would be told the same epoch.
	make_state( $db, 'owner', owner( $db ) );
	$db->begin();
	try {
		$owner = owner( $db, true );
		$may   = $owner['id'] === $id || $owner['left'] || ( $has_lease && '' !== $realm && ( $owner['realm'] ?? '' ) === $realm );
		if ( ! $may && now_ms() < $owner['expected_ms'] + SILENCE_MS ) {
			throw new Refused( 409, 'stale', stale( $owner ) );
		}
		$epoch = max( (int) $owner['epoch'], $least_epoch ) + 1;
		set_state( $db, 'owner', array( 'id' => $id, 'name' => $name, 'epoch' => $epoch, 'expected_ms' => now_ms() + $expect_ms, 'left' => false, 'realm' => $realm ) );
		$db->commit();
	} catch ( \Throwable $e ) {
		$db->rollback();
		throw $e;
	}
	return $epoch;
}

/**
 * Refuses an outdated caller. Asked in the transaction of the claim.
 *
 * @throws Refused `stale` or `unknown_epoch`.
 */
function check_epoch( Connection $db, int $epoch ): void {
	$owner = owner( $db, true );
	if ( $epoch < $owner['epoch'] ) {
		throw new Refused( 409, 'stale', stale( $owner ) );
	}
	if ( $epoch > $owner['epoch'] ) {
		throw new Refused( 409, 'unknown_epoch', array( 'epoch' => $owner['epoch'], 'message' => 'the site never issued this epoch: its database was restored from a backup' ) );
	}
}

/**
 * Refuses a runner that has said goodbye: it drains, and starts nothing new.
 *
 * @throws Refused `left`.
 */
function refuse_left( Connection $db ): void {
	if ( owner( $db )['left'] ) {
		throw new Refused( 409, 'left', array( 'message' => 'the runner has left this site' ) );
	}
}

/**
 * What an outdated runner is told.
 */
function stale( array $owner ): array {
	return array(
		'owner'       => array( 'id' => $owner['id'], 'name' => $owner['name'] ),
		'epoch'       => $owner['epoch'],
		'expected_ms' => $owner['expected_ms'],
		'message'     => "runner {$owner['name']} looks after this site",
	);
}

/**
 * The owner called: notes until when he may be silent, and from time to time, for page views, that he was seen.
 *
 * @return bool Was it such a time?
 */
function owner_was_here( Connection $db, string $id, int $expect_ms ): bool {
	$owner = owner( $db );
	if ( '' === $id || $owner['id'] !== $id || $owner['left'] ) {
		return false;
	}
	// A call that is expected at the same time as before says nothing new.
	if ( now_ms() + $expect_ms > $owner['expected_ms'] + 1000 ) {
		// Only over what was read: another runner may take over meanwhile, and his epoch must stand.
		replace_state( $db, 'owner', $owner, array_merge( $owner, array( 'expected_ms' => now_ms() + $expect_ms ) ) );
	}
	$settings = settings();
	if ( abs( time() - (int) ( $settings['seen'] ?? 0 ) ) <= seen_every( $settings ) ) {
		return false;
	}
	save_settings( array( 'seen' => time(), 'held' => held_runs( $db ) ) ); // Held runs for the dashboard.
	return true;
}

/**
 * The owner stops. Page-load cron is back with the next page, unless another runner follows within seconds.
 *
 * @param int $epoch The goodbye of an earlier epoch means nothing; 0: of whichever.
 * @return bool False where somebody else is the owner by now.
 */
function owner_leaves( Connection $db, string $id, bool $follows = false, int $epoch = 0 ): bool {
	// A look of ours may change the row between reading and writing; then once more.
	for ( $try = 0; $try < 5; $try++ ) {
		$owner = owner( $db );
		if ( $owner['id'] !== $id || ( $epoch && $epoch !== (int) $owner['epoch'] ) ) {
			return false;
		}
		if ( $owner['left'] || replace_state( $db, 'owner', $owner, array_merge( $owner, array( 'left' => true ) ) ) ) {
			break;
		}
	}
	// Whoever follows is seen at once; should nobody come, page loads start events again after a minute.
	save_settings( array( 'seen' => $follows ? time() - max( 0, grace( settings() ) - FOLLOWER_WAITS ) : 0 ) );
	return true;
}

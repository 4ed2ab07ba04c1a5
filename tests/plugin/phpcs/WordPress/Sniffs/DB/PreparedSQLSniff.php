<?php
/**
 * What goes to the database by $wpdb is prepared.
 *
 * @package WP_Cron_Runner
 */

namespace WordPress\Sniffs\DB;

use PHP_CodeSniffer\Files\File;
use PHP_CodeSniffer\Sniffs\Sniff;

/**
 * Reads `$wpdb->query( ... )` and its like.
 */
final class PreparedSQLSniff implements Sniff {
	/**
	 * What is looked at.
	 */
	public function register() {
		return array( T_VARIABLE );
	}

	/**
	 * One call: a constant text, or `$wpdb->prepare( ... )`.
	 */
	public function process( File $file, $at ) {
		$tokens = $file->getTokens();
		$words  = array( $at );
		for ( $i = 0; $i < 4; $i++ ) {
			$words[] = $file->findNext( T_WHITESPACE, end( $words ) + 1, null, true );
		}
		list( , $arrow, $method, $open, $first ) = $words;
		if ( '$wpdb' !== $tokens[ $at ]['content'] || '->' !== $tokens[ $arrow ]['content'] || '(' !== $tokens[ $open ]['content'] ) {
			return;
		}
		if ( ! preg_match( '/^(query|get_(var|row|col|results))$/', $tokens[ $method ]['content'] ) ) {
			return;
		}
		$text = $file->getTokensAsString( $first, $tokens[ $open ]['parenthesis_closer'] - $first );
		$bare = preg_replace( '/\{?\$wpdb->\w+\}?/', '', $text );
		if ( ! preg_match( '/^\$wpdb\s*->\s*prepare\s*\(/', $text ) && false !== strpos( $bare, '$' ) ) {
			$file->addError( 'sent as it is: %s; expected $wpdb->prepare()', $first, 'NotPrepared', array( substr( $text, 0, 80 ) ) );
		}
	}
}

<?php
/**
 * Whatever is printed is a constant, a number, or comes out of a function that escapes.
 *
 * @package WP_Cron_Runner
 */

namespace WordPress\Sniffs\Security;

use PHP_CodeSniffer\Files\File;
use PHP_CodeSniffer\Sniffs\Sniff;

/**
 * Reads `echo`, `print` and `printf`.
 */
final class EscapeOutputSniff implements Sniff {
	/** Functions whose word is taken. */
	const ESCAPE = '/^(esc_(html|attr|url|js|textarea|html__|html_e|html_x|attr__|attr_e)|html|wp_kses\w*|number_format_i18n|selected|checked|disabled|intval|absint)$/';

	/**
	 * What is looked at.
	 */
	public function register() {
		return array( T_ECHO, T_PRINT, T_STRING );
	}

	/**
	 * One statement.
	 */
	public function process( File $file, $at ) {
		$tokens = $file->getTokens();
		if ( T_STRING === $tokens[ $at ]['code'] ) {
			$next = $file->findNext( T_WHITESPACE, $at + 1, null, true );
			if ( ! in_array( $tokens[ $at ]['content'], array( 'printf', 'vprintf' ), true ) || T_OPEN_PARENTHESIS !== $tokens[ $next ]['code'] ) {
				return;
			}
			$this->parts( $file, $next + 1, $tokens[ $next ]['parenthesis_closer'] );
			return;
		}
		$this->parts( $file, $at + 1, $file->findNext( array( T_SEMICOLON, T_CLOSE_TAG ), $at ) );
	}

	/**
	 * What stands between commas. Of a choice the condition is not printed.
	 */
	private function parts( File $file, $from, $to ) {
		$tokens = $file->getTokens();
		$found  = array();
		for ( $i = $from; $i < $to; $i++ ) {
			$token = $tokens[ $i ];
			switch ( $token['code'] ) {
				case T_INLINE_THEN:
					$found = array();
					break;
				case T_COMMA:
					$this->tell( $file, $found );
					$found = array();
					break;
				case T_INT_CAST:
				case T_DOUBLE_CAST:
					$i = $this->end_of_operand( $file, $i + 1 );
					break;
				case T_VARIABLE:
				case T_DOUBLE_QUOTED_STRING:
				case T_HEREDOC:
					$found[] = $i;
					$i       = $this->end_of_operand( $file, $i );
					break;
				case T_STRING:
					$next = $file->findNext( T_WHITESPACE, $i + 1, null, true );
					if ( T_OPEN_PARENTHESIS === $tokens[ $next ]['code'] ) {
						if ( ! preg_match( self::ESCAPE, $token['content'] ) ) {
							$found[] = $i;
						}
						$i = $tokens[ $next ]['parenthesis_closer'];
					}
					break;
			}
		}
		$this->tell( $file, $found );
	}

	/**
	 * Over the brackets and arrows behind a variable.
	 */
	private function end_of_operand( File $file, $at ) {
		$tokens = $file->getTokens();
		$at     = $file->findNext( T_WHITESPACE, $at, null, true );
		while ( true ) {
			$next = $file->findNext( T_WHITESPACE, $at + 1, null, true );
			if ( T_OPEN_SQUARE_BRACKET === $tokens[ $next ]['code'] ) {
				$at = $tokens[ $next ]['bracket_closer'];
			} elseif ( T_OPEN_PARENTHESIS === $tokens[ $next ]['code'] ) {
				$at = $tokens[ $next ]['parenthesis_closer'];
			} elseif ( in_array( $tokens[ $next ]['code'], array( T_OBJECT_OPERATOR, T_DOUBLE_COLON ), true ) ) {
				$at = $file->findNext( T_WHITESPACE, $next + 1, null, true );
			} else {
				return $at;
			}
		}
	}

	/**
	 * Says so.
	 */
	private function tell( File $file, array $found ) {
		foreach ( $found as $at ) {
			$file->addError( 'printed as it is: %s; expected a constant, a number, or esc_html() and the like', $at, 'OutputNotEscaped', array( $file->getTokens()[ $at ]['content'] ) );
		}
	}
}

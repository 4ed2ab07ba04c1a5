<?php
/**
 * Functions are named in lower case, with underscores.
 *
 * @package WP_Cron_Runner
 */

namespace WordPress\Sniffs\NamingConventions;

use PHP_CodeSniffer\Files\File;
use PHP_CodeSniffer\Sniffs\Sniff;

/**
 * Reads `function name(`.
 */
final class ValidFunctionNameSniff implements Sniff {
	/**
	 * What is looked at.
	 */
	public function register() {
		return array( T_FUNCTION );
	}

	/**
	 * One name.
	 */
	public function process( File $file, $at ) {
		$name = $file->getDeclarationName( $at );
		if ( null !== $name && ! preg_match( '/^_{0,2}[a-z][a-z0-9_]*$/', $name ) && '__callStatic' !== $name ) {
			$file->addError( 'a function is called %s; expected lower case and underscores', $at, 'NotSnakeCase', array( $name ) );
		}
	}
}

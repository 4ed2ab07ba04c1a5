<?php
/**
 * Runs the plugin's tests that need no WordPress: every file here named *-test.php.
 *
 * A test file calls test() with a sentence and a function; a test fails by same(), or by any Throwable. Nothing but PHP
 * is needed, so that the same files run under PHP 7.4 and 8.4 compiled to WebAssembly.
 */

error_reporting( E_ALL );
set_error_handler(
	static function ( $level, $message, $file, $line ) {
		throw new ErrorException( $message, 0, $level, $file, $line );
	}
);

$GLOBALS['tests_passed'] = 0;
$GLOBALS['tests_failed'] = 0;

function test( string $sentence, callable $test ) {
	try {
		$test();
		++$GLOBALS['tests_passed'];
	} catch ( Throwable $failure ) {
		++$GLOBALS['tests_failed'];
		echo "FAILED: $sentence\n  {$failure->getMessage()}\n  at {$failure->getFile()}:{$failure->getLine()}\n";
	}
}

function same( $expected, $found, string $what = 'value' ) {
	if ( $expected !== $found ) {
		throw new Exception( "$what: expected " . var_export( $expected, true ) . ', found ' . var_export( $found, true ) );
	}
}

$files = glob( __DIR__ . '/*-test.php' );
foreach ( $files as $file ) {
	require $file;
}

echo 'PHP ', PHP_VERSION, ', the plugin without WordPress: ';
echo "{$GLOBALS['tests_passed']} passed, {$GLOBALS['tests_failed']} failed\n";
exit( $GLOBALS['tests_failed'] > 0 || 0 === $GLOBALS['tests_passed'] ? 1 : 0 );

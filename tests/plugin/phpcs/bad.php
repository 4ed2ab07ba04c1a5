<?php
// Never run: each of these is to be found by the sniffs beside it.
function BadName() {
	global $wpdb;
	echo $x, esc_html( $y ), "a $z", 5, 'c', foo( $a ), $b ? 'yes' : $c, (int) $d->e['f'];
	printf( '%s', $g );
	$wpdb->query( "DELETE FROM $t" );
	$wpdb->get_var( $wpdb->prepare( 'SELECT %d', 1 ) );
	$wpdb->get_col( "SELECT 1 FROM {$wpdb->options}" );
    $tabs = 1;
}

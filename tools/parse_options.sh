# Source this: every "--name value" on the command line sets the shell variable "name", which must
# have a default already. "--help" prints the comment at the top of the script.
# Words that are not options of the recipe are refused.

# is_option NAME: true for a variable in lower case that the recipe set. Bash evaluates an array's
# subscript in a name, so names are checked before they are used. Variables of the environment,
# arrays and readonly variables are no options: declare shows an attribute in place of the second
# "-".
is_option() {
  [[ $1 =~ ^[[:lower:]][[:lower:][:digit:]_]*$ && $1 != option_name ]] || return 1
  [[ $(declare -p "$1" 2> /dev/null) == "declare -- $1="* ]]
}

# why_not NAME: what is to be said of a name that is no option, and may be one of the recipe.
why_not() {
  [[ $1 =~ ^[[:lower:]][[:lower:][:digit:]_]*$ ]] || return 0
  [[ $(declare -p "$1" 2> /dev/null) != "declare -x "* ]] ||
    echo ": the environment has a variable $1; unset $1, if the recipe has it too"
}

readonly root recipe mini_dir trains
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --*)
      option_name=${1#--}
      option_name=${option_name//-/_}
      is_option "$option_name" || refuse "unknown option $1$(why_not "$option_name")"
      [ $# -ge 2 ] || refuse "$1 needs a value"
      printf -v "$option_name" %s "$2"
      shift 2
      ;;
    *) refuse "unexpected word $1, options are --name value" ;;
  esac
done
